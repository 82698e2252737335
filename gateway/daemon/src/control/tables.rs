//! The workers' tables, a page at a time.

use std::time::{Duration, Instant};

use super::state::State;
use natgw_api::LISTING_TIMEOUT;
use natgw_api::types::{Cursor, Mapping, Page, Query, Session};
use natgw_management::Unavailable;
use natgw_worker::{Command, Listing, Page as WorkerPage, Rows};

impl State {
    /// As [`natgw_management::Gateway::mappings`].
    pub(super) fn mappings(&self, query: &Query) -> Result<Page<Mapping>, Unavailable> {
        let pools = self.pool_names();
        self.page(
            query,
            |rows| Rows::Mappings(Vec::with_capacity(rows)),
            |page, items| {
                if let Rows::Mappings(rows) = page.rows {
                    items.extend(rows.iter().map(|row| Mapping::of(row, page.worker.0, &pools)));
                }
            },
        )
    }

    /// As [`natgw_management::Gateway::sessions`].
    pub(super) fn sessions(&self, query: &Query) -> Result<Page<Session>, Unavailable> {
        let pools = self.pool_names();
        self.page(
            query,
            |rows| Rows::Sessions(Vec::with_capacity(rows)),
            |page, items| {
                if let Rows::Sessions(rows) = page.rows {
                    items.extend(rows.iter().map(|row| Session::of(row, page.worker.0, &pools)));
                }
            },
        )
    }

    /// One page of a table, worker after worker: as many rows as asked for, the end, or what [`PAGE_TIME`] was enough for.
    fn page<T>(
        &self,
        query: &Query,
        empty: impl Fn(usize) -> Rows,
        take: impl Fn(WorkerPage, &mut Vec<T>),
    ) -> Result<Page<T>, Unavailable> {
        let begun = Instant::now();
        let deadline = begun + LISTING_TIMEOUT;
        let mut at = query.cursor.unwrap_or_default();
        let mut items = Vec::new();
        loop {
            let Some(commands) = self.commands_of(at.worker)? else {
                return Ok(Page { items, next_cursor: None });
            };
            let (filter, from, rows) = (query.filter, at.position, empty(query.limit - items.len()));
            let command =
                |id, answer| Command::List(Listing { id, filter, from, lines: LINES_AT_ONCE, rows, answer });
            let page: WorkerPage = self.channels.request(at.worker, &commands, deadline, command)?;
            if page.refused {
                return Err(Unavailable::Busy { worker: at.worker });
            }
            at = match page.next {
                Some(position) => Cursor { position, ..at },
                None => Cursor { worker: at.worker + 1, position: 0 },
            };
            take(page, &mut items);
            if items.len() >= query.limit || begun.elapsed() >= PAGE_TIME {
                return Ok(Page { items, next_cursor: Some(at) });
            }
        }
    }
}

/// How long a page may take to fill. What there is then is given: few rows of a large table may be asked for.
const PAGE_TIME: Duration = Duration::from_secs(1);
/// Lines of a worker's table behind one another for a page.
const LINES_AT_ONCE: u32 = 65_536;
