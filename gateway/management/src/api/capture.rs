//! `GET /api/v1/capture`: a body that goes on for as long as the capture does.
//!
//! A thread of the blocking pool asks the capture for its next blocks and waits until the client has room for them. It ends
//! with the capture, when the client goes away, when the server stops, and when the capture's time is over however slow the
//! client is.

use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hyper::body::{Bytes, Frame};
use serde::Deserialize;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::timeout_at;
use utoipa::IntoParams;

use super::problem::{BadParameters, Contradiction, Unanswered, Unauthorized};
use super::table::{Parameters, filter};
use crate::app::App;
use crate::capture::{CAPTURES_MAX, Capture};
use crate::stream_deadline::StreamDeadline;
use natgw_api::types::{Address, Protocols};
use natgw_api::{CaptureRequest, Frames, Problem};
use natgw_nat::Filter;

/// How long the capture's next blocks are waited for, before the thread looks whether the client is still there.
const PATIENCE: Duration = Duration::from_millis(100);
/// Pieces of the body on their way.
const PIECES: usize = 4;
/// What a client may take longer than the capture to read its end.
const GRACE: Duration = Duration::from_secs(2);

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct CaptureParameters {
    /// Which frames.
    frames: Frames,
    /// Inside address.
    #[param(value_type = Option<Address>)]
    inside: Option<Ipv4Addr>,
    /// Outside address.
    #[param(value_type = Option<Address>)]
    outside: Option<Ipv4Addr>,
    /// Remote address.
    #[param(value_type = Option<Address>)]
    remote: Option<Ipv4Addr>,
    /// Protocol.
    protocol: Option<Protocols>,
    /// Inside, outside or remote port, or query identifier.
    #[param(maximum = 65535)]
    port: Option<u16>,
    /// Most frames a second.
    #[param(minimum = 1, maximum = 100_000, default = 1000)]
    rate: Option<u32>,
    /// Most frames in all.
    #[param(minimum = 1, maximum = 1_000_000_000)]
    count: Option<u32>,
    /// Longest time, seconds.
    #[param(minimum = 1, maximum = 3600, default = 60)]
    seconds: Option<u32>,
    /// Octets of each frame, where it has more.
    #[param(minimum = 1, maximum = 65535)]
    snap_len: Option<u32>,
}

impl CaptureParameters {
    fn request(self) -> Result<CaptureRequest, Problem> {
        let CaptureParameters { inside, outside, remote, port, .. } = self;
        let between = |name: &str, asked: Option<u32>, default: u32, max: u32| {
            let given = asked.unwrap_or(default);
            let detail = || format!("{name}: {given} asked for; 1 to {max} are allowed");
            (1..=max)
                .contains(&given)
                .then_some(given)
                .ok_or_else(|| Problem::new(StatusCode::BAD_REQUEST, detail()))
        };
        let (count_max, snap_len_max) = (CaptureRequest::COUNT_MAX, CaptureRequest::SNAP_LEN_MAX);
        Ok(CaptureRequest {
            frames: self.frames,
            rate: between("rate", self.rate, CaptureRequest::RATE_DEFAULT, CaptureRequest::RATE_MAX)?,
            count: between("count", self.count, count_max, count_max)?,
            seconds: between(
                "seconds",
                self.seconds,
                CaptureRequest::SECONDS_DEFAULT,
                CaptureRequest::SECONDS_MAX,
            )?,
            snap_len: between("snap_len", self.snap_len, snap_len_max, snap_len_max)?,
            filter: filter(Filter { inside, outside, remote, port, protocol: None }, self.protocol)?,
        })
    }
}

/// Frames as a pcapng file, for as long as the capture runs; each with its session, or why it is dropped, as a comment.
///
/// It shows what subscribers send and receive, and so needs the token as a change does.
#[utoipa::path(get, path = "/capture", tag = "capture", params(CaptureParameters), security(("token" = [])),
    responses((status = 200, content_type = "application/x-pcapng", body = Vec<u8>),
        BadParameters, Contradiction, Unauthorized, Unanswered))]
pub(super) async fn capture(
    State(app): State<App>,
    Extension(deadline): Extension<StreamDeadline>,
    headers: HeaderMap,
    parameters: Parameters<CaptureParameters>,
) -> Result<Response, Problem> {
    app.access.may_capture(&headers)?;
    let request = parameters?.0.request()?;
    let Ok(slot) = Arc::clone(&app.captures).try_acquire_owned() else {
        let detail = format!("{CAPTURES_MAX} captures are running; end one first");
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail));
    };
    let capture = app.ask(move |app| Ok(app.gateway().capture(&request)?)).await?;
    deadline.begin(Duration::from_secs(request.seconds.into()) + GRACE);
    let (pieces, body) = mpsc::channel(PIECES);
    let runtime = Handle::current();
    tokio::task::spawn_blocking(move || pump(slot, capture, &pieces, &deadline, &runtime));
    let kind = [(header::CONTENT_TYPE, "application/x-pcapng")];
    Ok((kind, Body::new(Pieces(body))).into_response())
}

/// Gives the client what the capture brings. The slot is free again once the capture has ended: it is dropped last.
fn pump(
    _slot: OwnedSemaphorePermit,
    mut capture: Box<dyn Capture>,
    pieces: &mpsc::Sender<Bytes>,
    deadline: &StreamDeadline,
    runtime: &Handle,
) {
    while !pieces.is_closed()
        && let Some(piece) = capture.next(PATIENCE)
    {
        if !piece.is_empty() {
            let sending = pieces.send(piece.into());
            if !matches!(runtime.block_on(timeout_at(deadline.until(), sending)), Ok(Ok(()))) {
                return;
            }
        }
        if deadline.is_stopping() {
            return;
        }
    }
}

/// A body in pieces, as they come.
struct Pieces(mpsc::Receiver<Bytes>);

impl hyper::body::Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(context).map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
    }
}
