//! What is written as text, as the OpenAPI document describes it.

use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::openapi::{KnownFormat, RefOr, SchemaFormat};
use utoipa::{PartialSchema, ToSchema};

use super::{Cursor, Endpoint, Protocols};
use crate::Frames;

/// Stands for `Ipv4Addr` in the document.
pub struct Address;

/// Stands for [`natgw_nat::IpProtocol`].
pub struct IpProtocol;

/// Stands for [`natgw_nat::Protocol`].
pub struct Protocol;

/// Stands for [`natgw_nat::Direction`].
pub struct Direction;

const BYTE: &str = "(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])";
const PORT: &str = "(6553[0-5]|655[0-2][0-9]|65[0-4][0-9]{2}|6[0-4][0-9]{3}|[1-5][0-9]{4}|[1-9][0-9]{0,3}|0)";
const NAMES: &str = "udp|tcp|icmp|gre|esp|ah|sctp|udp-lite|dccp";

/// Text of this pattern.
fn text(pattern: &str, description: &str) -> RefOr<Schema> {
    let text = ObjectBuilder::new().schema_type(Type::String);
    text.pattern(Some(format!("^{pattern}$"))).description(Some(description)).into()
}

/// One of these words.
fn word(words: impl IntoIterator<Item = &'static str>, description: &str) -> RefOr<Schema> {
    let word = ObjectBuilder::new().schema_type(Type::String);
    word.enum_values(Some(words)).description(Some(description)).into()
}

fn endpoint(port: &str) -> String {
    format!("{BYTE}(\\.{BYTE}){{3}}{port}")
}

impl PartialSchema for Address {
    fn schema() -> RefOr<Schema> {
        let text = ObjectBuilder::new().schema_type(Type::String);
        text.format(Some(SchemaFormat::KnownFormat(KnownFormat::Ipv4))).into()
    }
}

impl PartialSchema for Endpoint {
    fn schema() -> RefOr<Schema> {
        let description =
            "`address:port`, `address:identifier` of ICMP; of other protocols the address alone.";
        text(&endpoint(&format!("(:{PORT})?")), description)
    }
}

impl PartialSchema for Cursor {
    fn schema() -> RefOr<Schema> {
        let number = |digits| format!("(0|[1-9a-f][0-9a-f]{{0,{}}})", digits - 1);
        text(&format!("{}-{}", number(4), number(8)), "Where a listing goes on; from a page's `next_cursor`.")
    }
}

impl PartialSchema for IpProtocol {
    fn schema() -> RefOr<Schema> {
        text(&format!("({NAMES}|{BYTE})"), "An IPv4 protocol: its name, or the number of one without a name.")
    }
}

impl PartialSchema for Protocols {
    fn schema() -> RefOr<Schema> {
        let description = "A protocol by name or number, or `other` for all but UDP, TCP and ICMP.";
        text(&format!("({NAMES}|other|{BYTE})"), description)
    }
}

impl PartialSchema for Frames {
    fn schema() -> RefOr<Schema> {
        const KIND: &str = "(inside|outside|dropped)";
        let description =
            "What inside or outside interfaces receive and send, what is dropped, or several of these.";
        text(&format!("{KIND}(,{KIND})*"), description)
    }
}

impl PartialSchema for Protocol {
    fn schema() -> RefOr<Schema> {
        word(
            natgw_nat::Protocol::WITH_PORTS.map(natgw_nat::Protocol::name),
            "A protocol with ports or query identifiers.",
        )
    }
}

impl PartialSchema for Direction {
    fn schema() -> RefOr<Schema> {
        word(natgw_nat::Direction::ALL.map(natgw_nat::Direction::name), "From inside or from outside.")
    }
}

impl ToSchema for Address {}
impl ToSchema for Endpoint {}
impl ToSchema for Cursor {}
impl ToSchema for Frames {}
impl ToSchema for IpProtocol {}
impl ToSchema for Protocols {}
impl ToSchema for Protocol {}
impl ToSchema for Direction {}
