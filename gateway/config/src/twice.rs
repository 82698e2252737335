//! `[[nat.twice]]`: outside networks that inside hosts know by other addresses.

use super::address::{AddressRange, ClassE};
use super::address_conflicts::Claim;
use super::diagnostic::At;
use super::forward::Inside;
use super::table_reader::Section;
use super::value::{self, Hosts};
use natgw_nat::Twice;

/// Reads every `[[nat.twice]]`; `None` unless all of them are whole.
pub(super) fn read_all(
    nat: &mut Section<'_>,
    inside: Option<&Inside<'_>>,
    claims: &[Claim],
) -> Option<Vec<Twice>> {
    let mut earlier: [Vec<(AddressRange, usize)>; 2] = Default::default();
    nat.tables("twice", TWICE_MAX, |section| {
        let external = section.required("external", value::hosts(ClassE::Reserved));
        let internal = section.required("internal", value::hosts(ClassE::Reserved));
        let (external, internal) = (external?, internal?);
        if external.value.prefix_len() != internal.value.prefix_len() {
            let found = format!("{} for {}", Hosts(internal.value), Hosts(external.value));
            section.wrong(internal.line, "internal", found, "a prefix as long as external's");
            return None;
        }
        for ((key, at), earlier) in
            [("external", &external), ("internal", &internal)].into_iter().zip(&mut earlier)
        {
            let range = AddressRange::from(at.value);
            let refuse = |what: String| {
                section.wrong(at.line, key, Hosts(at.value), format_args!("addresses apart from {what}"));
            };
            if let Some((_, line)) = earlier.iter().find(|(other, _)| other.overlaps(range)) {
                refuse(format!("those of line {line}"));
            }
            if let Some(claim) = claims.iter().find(|claim| claim.range.overlaps(range)) {
                refuse(format!("{}, {}", claim.owner, section.report().place(claim.line)));
            }
            earlier.push((range, at.line));
        }
        refuse_inside(section, &internal, inside);
        Some(Twice { external: external.value, internal: internal.value })
    })
}

/// By what inside hosts know a remote, no inside host is known.
fn refuse_inside(section: &Section<'_>, internal: &At<ipnet::Ipv4Net>, inside: Option<&Inside<'_>>) {
    let range = AddressRange::from(internal.value);
    let prefixes = inside.map_or(&[][..], |inside| inside.prefixes);
    if let Some(net) = prefixes.iter().find(|net| range.overlaps((**net).into())) {
        let allowed = format!("addresses apart from the inside prefix {net}");
        section.wrong(internal.line, "internal", Hosts(internal.value), allowed);
    }
}

/// Most outside networks with other addresses inside.
pub const TWICE_MAX: usize = 256;
