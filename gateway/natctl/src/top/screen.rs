//! The screen: five tables below one another, each with its share of the lines.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::buffer::Buffer;
use ratatui::crossterm;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};
use ratatui::widgets::Widget;

use super::super::show::duration;
use super::panel::{Panel, View};
use super::sample::{Interval, Sample};

/// How many tables there are.
const PANELS: usize = 5;

/// What is shown, and how.
#[derive(Default)]
pub(super) struct Screen {
    before: Option<Sample>,
    now: Option<Sample>,
    /// Why there is no answer.
    gone: Option<String>,
    is_paused: bool,
    chosen: usize,
    views: [View; PANELS],
    /// Whether there may be colours.
    is_colored: bool,
}

impl Screen {
    pub(super) fn new(is_colored: bool) -> Screen {
        Screen { is_colored, ..Screen::default() }
    }

    /// Takes an answer, or why there is none. While the screen is paused it stays as it is.
    pub(super) fn take(&mut self, answer: Result<Sample, String>) {
        match answer {
            _ if self.is_paused => {}
            Err(why) => self.gone = Some(why),
            Ok(sample) => {
                self.gone = None;
                // Another process has counted from zero.
                let is_same = |now: &Sample| now.status.about.pid == sample.status.about.pid;
                self.before = self.now.take().filter(is_same);
                self.now = Some(sample);
            }
        }
    }

    /// Does what a key asks for; whether to go on.
    pub(super) fn press(&mut self, key: KeyEvent) -> bool {
        let view = &mut self.views[self.chosen];
        match key.code {
            KeyCode::Char('q') | KeyCode::Esc => return false,
            KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => return false,
            KeyCode::Char('p') => self.is_paused = !self.is_paused,
            KeyCode::Tab | KeyCode::Right => self.chosen = (self.chosen + 1) % PANELS,
            KeyCode::BackTab | KeyCode::Left => self.chosen = (self.chosen + PANELS - 1) % PANELS,
            KeyCode::Up => view.first = view.first.saturating_sub(1),
            KeyCode::Down => {
                let len = self.panels().map_or(0, |panels| panels[self.chosen].len());
                let view = &mut self.views[self.chosen];
                view.first = (view.first + 1).min(len.saturating_sub(1));
            }
            KeyCode::Char('s') => {
                let next =
                    self.panels().map(|panels| panels[self.chosen].next_order(&self.views[self.chosen]));
                self.views[self.chosen].sorted_by = next;
            }
            _ => {}
        }
        true
    }

    fn panels(&self) -> Option<[Panel; PANELS]> {
        let now = self.now.as_ref()?;
        Some(Interval { before: self.before.as_ref(), now }.panels())
    }

    /// Lines that show everything.
    pub(super) fn height(&self) -> u16 {
        let rows: usize = self.panels().iter().flatten().map(|panel| panel.len() + 1).sum();
        (rows + HEAD) as u16
    }

    fn headline(&self) -> String {
        let Some(Sample { status, .. }) = &self.now else { return String::new() };
        let about = &status.about;
        let ready = if status.readiness.ready { "ready" } else { "NOT READY" };
        format!(
            "nat-gateway {}, {ready}, up {}; sessions {} of {}, mappings {}, subscribers {}",
            about.version,
            duration(about.uptime_s),
            status.sessions,
            about.sessions_limit,
            status.mappings,
            status.subscribers
        )
    }

    /// What is wrong or unusual, or the keys.
    fn note(&self) -> (String, Style) {
        let not_ready =
            self.now.as_ref().map(|now| &now.status.readiness.reasons).filter(|why| !why.is_empty());
        let loud = Style::new().add_modifier(Modifier::REVERSED);
        match (&self.gone, not_ready) {
            _ if self.is_paused => ("paused; p goes on".to_owned(), loud),
            (Some(why), _) => (format!("trying again: {why}"), loud),
            (None, Some(reasons)) => (reasons.join("; "), loud),
            (None, None) => (KEYS.to_owned(), Style::new().add_modifier(Modifier::DIM)),
        }
    }
}

/// Lines above the tables.
const HEAD: usize = 2;
const KEYS: &str = "q quit  p pause  Tab next table  Up/Down scroll  s sort";

impl Widget for &Screen {
    fn render(self, area: Rect, buffer: &mut Buffer) {
        let width = usize::from(area.width);
        let bold = Style::new().add_modifier(Modifier::BOLD);
        if area.height > 0 {
            buffer.set_stringn(area.x, area.y, self.headline(), width, bold);
        }
        if area.height > 1 {
            let (note, style) = self.note();
            buffer.set_stringn(area.x, area.y + 1, note, width, style);
        }
        let Some(panels) = self.panels() else { return };
        let room = usize::from(area.height).saturating_sub(HEAD);
        let mut y = area.y + HEAD as u16;
        for (nth, lines) in
            shares(panels.each_ref().map(Panel::len), room, self.chosen).into_iter().enumerate()
        {
            let mut head = if self.is_colored { bold.fg(Color::Cyan) } else { bold };
            if nth == self.chosen {
                head = head.add_modifier(Modifier::REVERSED);
            }
            let area = Rect { y, height: lines as u16, ..area };
            panels[nth].draw(&self.views[nth], area, head, self.is_colored, buffer);
            y += lines as u16;
        }
    }
}

/// Lines of each table, its head included: in turn each gets one more for as long as there are rows and room. The chosen
/// one gets two for every one of the others'.
fn shares(rows: [usize; PANELS], room: usize, chosen: usize) -> [usize; PANELS] {
    let mut lines = [0; PANELS];
    let mut left = room;
    loop {
        let before = left;
        for nth in (0..PANELS).chain([chosen]) {
            if left > 0 && lines[nth] < rows[nth] + 1 {
                lines[nth] += 1;
                left -= 1;
            }
        }
        if left == before {
            return lines;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_table_gets_lines_and_the_chosen_one_most() {
        assert_eq!(shares([2, 1, 3, 0, 1], 80, 0), [3, 2, 4, 1, 2], "there is room for all");
        assert_eq!(shares([90; PANELS], 22, 3), [4, 4, 4, 7, 3]);
        assert_eq!(shares([90, 1, 3, 2, 90], 22, 4), [5, 2, 4, 3, 8]);
        assert_eq!(shares([9; PANELS], 3, 4), [1, 1, 1, 0, 0]);
        assert_eq!(shares([9; PANELS], 0, 0), [0; PANELS]);
    }
}
