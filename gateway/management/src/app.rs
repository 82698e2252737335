//! What every handler has at hand, and how it asks the gateway.
//!
//! The thread that takes requests never blocks: whatever asks the gateway runs on a thread of the blocking pool, with a
//! deadline. Listings that wait for workers may hold [`LISTINGS_MAX`] of those threads, so that however slow they
//! are, `/metrics` and `/readyz` still find one.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::http::StatusCode;
use tokio::sync::Semaphore;

use super::access::Access;
use super::capture::CAPTURES_MAX;
use super::error::Unavailable;
use super::gateway::Gateway;
use super::metrics::Metrics;
use natgw_api::{CHANGE_TIMEOUT, DELETION_TIMEOUT, LISTING_TIMEOUT, Problem};

/// Threads of the blocking pool. A capture has one for as long as it runs, and the one change of the configuration that may
/// be under way for as long as it takes.
pub(super) const BLOCKING_THREADS: usize = LISTINGS_MAX + CAPTURES_MAX + 5;

/// Listings, deletions and explanations at once, as many as half of what a worker takes; more wait for their turn until
/// [`LISTING_TIMEOUT`].
const LISTINGS_MAX: usize = 32;

/// After this long the gateway's answer is no longer waited for. Above [`LISTING_TIMEOUT`], so that the gateway's
/// own reason is heard.
const ANSWER_TIMEOUT: Duration = LISTING_TIMEOUT.saturating_add(GRACE);
/// As [`ANSWER_TIMEOUT`], for a deletion.
pub(super) const DELETED_TIMEOUT: Duration = DELETION_TIMEOUT.saturating_add(GRACE);
/// As [`ANSWER_TIMEOUT`], for a change of the configuration, with those before it.
const CHANGED_TIMEOUT: Duration = CHANGE_TIMEOUT.saturating_add(GRACE);
const GRACE: Duration = Duration::from_millis(500);

/// How long a client may take to send a body.
pub(super) const BODY_TIMEOUT: Duration = Duration::from_secs(5);

/// What every handler has at hand.
#[derive(Clone)]
pub(super) struct App {
    gateway: Arc<dyn Gateway>,
    pub(super) access: Access,
    pub(super) metrics: Metrics,
    /// The OpenAPI document.
    pub(super) document: Arc<str>,
    listings: Arc<Semaphore>,
    /// One permit: changes of the configuration come one after another.
    changes: Arc<Semaphore>,
    /// A permit for each capture that may run.
    pub(super) captures: Arc<Semaphore>,
}

/// An answer in JSON, or why there is none.
pub(super) type Answer<T> = Result<Json<T>, Problem>;

impl App {
    /// Of clients with this `access`; `document` is the OpenAPI document.
    ///
    /// # Errors
    /// The metrics cannot be registered.
    pub(super) fn new(
        gateway: Arc<dyn Gateway>,
        access: Access,
        document: String,
    ) -> Result<App, prometheus::Error> {
        Ok(App {
            metrics: Metrics::new(Arc::clone(&gateway))?,
            gateway,
            access,
            document: document.into(),
            listings: Arc::new(Semaphore::new(LISTINGS_MAX)),
            changes: Arc::new(Semaphore::new(1)),
            captures: Arc::new(Semaphore::new(CAPTURES_MAX)),
        })
    }

    /// The same, for clients with another access.
    pub(super) fn with_access(&self, access: Access) -> App {
        App { access, ..self.clone() }
    }

    /// Shows what is at hand.
    pub(super) async fn show<T: Send + 'static>(&self, read: fn(&dyn Gateway) -> T) -> Answer<T> {
        self.ask(move |app| Ok(read(&*app.gateway))).await.map(Json)
    }

    /// Asks the gateway on a thread that may block.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&App) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        self.ask_within(ANSWER_TIMEOUT, question).await
    }

    async fn ask_within<T: Send + 'static>(
        &self,
        patience: Duration,
        question: impl FnOnce(&App) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        let app = self.clone();
        let answer = tokio::task::spawn_blocking(move || question(&app));
        match tokio::time::timeout(patience, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(panicked)) => Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, panicked.to_string())),
            Err(_) => Err(busy()),
        }
    }

    /// Asks the gateway for a change of its configuration. They come one after another, and those that wait hold no thread.
    pub(super) async fn change<T: Send + 'static>(
        &self,
        question: impl FnOnce(&App) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        let until = tokio::time::Instant::now() + CHANGED_TIMEOUT;
        let permit = tokio::time::timeout_at(until, Arc::clone(&self.changes).acquire_owned());
        let Ok(Ok(permit)) = permit.await else { return Err(busy()) };
        let patience = until.saturating_duration_since(tokio::time::Instant::now());
        let answer = self.ask_within(patience, move |app| {
            let _permit = permit;
            question(app)
        });
        answer.await
    }

    /// Asks the gateway for what the workers must be asked for.
    pub(super) async fn ask_workers<T: Send + 'static>(
        &self,
        question: impl FnOnce(&dyn Gateway) -> Result<T, Unavailable> + Send + 'static,
    ) -> Answer<T> {
        self.ask_workers_within(ANSWER_TIMEOUT, question).await
    }

    pub(super) async fn ask_workers_within<T: Send + 'static>(
        &self,
        patience: Duration,
        question: impl FnOnce(&dyn Gateway) -> Result<T, Unavailable> + Send + 'static,
    ) -> Answer<T> {
        let permit = tokio::time::timeout(LISTING_TIMEOUT, Arc::clone(&self.listings).acquire_owned());
        let Ok(Ok(permit)) = permit.await else { return Err(busy()) };
        let answer = self.ask_within(patience, move |app| {
            // Given back when the question is answered, not when its caller stops waiting.
            let _permit = permit;
            Ok(question(&*app.gateway)?)
        });
        answer.await.map(Json)
    }

    pub(super) fn gateway(&self) -> &dyn Gateway {
        &*self.gateway
    }
}

fn busy() -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the gateway did not answer in time; try again")
}
