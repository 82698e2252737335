//! A table of the screen: its rows in an order of choice, as many of them as there is room for.

use std::cmp::Ordering;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};

/// What a value is worth to a reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    Warning,
    Bad,
}

/// One value.
#[derive(Clone, Debug)]
pub(super) struct Cell {
    text: String,
    /// What it is sorted by, the most first; a text without a number is sorted by its letters.
    number: Option<f64>,
    is_text: bool,
    mark: Option<Mark>,
}

impl Cell {
    pub(super) fn text(text: &str) -> Cell {
        Cell { text: text.to_owned(), number: None, is_text: true, mark: None }
    }

    pub(super) fn number(number: u64) -> Cell {
        Cell { text: number.to_string(), number: Some(number as f64), is_text: false, mark: None }
    }

    /// Something a second.
    pub(super) fn rate(rate: f64) -> Cell {
        Cell { text: short(rate), number: Some(rate), is_text: false, mark: None }
    }

    pub(super) fn share(share: f64) -> Cell {
        let text = format!("{:.1} %", 100.0 * share);
        Cell { text, number: Some(share), is_text: false, mark: None }
    }

    pub(super) fn marked(self, is_marked: bool, mark: Mark) -> Cell {
        Cell { mark: is_marked.then_some(mark), ..self }
    }

    /// Sorted by this, the least first.
    pub(super) fn ordered(self, by: u32) -> Cell {
        Cell { number: Some(-f64::from(by)), ..self }
    }

    fn width(&self) -> usize {
        self.text.chars().count()
    }

    fn compare(&self, other: &Cell) -> Ordering {
        match (self.number, other.number) {
            (Some(one), Some(other)) => other.total_cmp(&one),
            _ => self.text.cmp(&other.text),
        }
    }
}

/// 12345678 becomes `12.3 M`.
fn short(number: f64) -> String {
    let (mut number, mut units) = (number, ["", " k", " M", " G", " T"].into_iter());
    let mut unit = units.next().unwrap_or_default();
    while number >= 999.5
        && let Some(next) = units.next()
    {
        number /= 1000.0;
        unit = next;
    }
    let digits = usize::from(!unit.is_empty() && number < 99.95);
    format!("{number:.digits$}{unit}")
}

/// A table.
#[derive(Clone, Debug)]
pub(super) struct Panel {
    columns: Vec<&'static str>,
    rows: Vec<Vec<Cell>>,
    /// The column that it is sorted by at first.
    sorted_by: usize,
}

/// How a table is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct View {
    /// The column that it is sorted by.
    pub(super) sorted_by: Option<usize>,
    /// Rows that are scrolled past.
    pub(super) first: usize,
}

impl Panel {
    pub(super) fn new(
        columns: &[&'static str],
        rows: impl Iterator<Item = Vec<Cell>>,
        sorted_by: usize,
    ) -> Panel {
        Panel { columns: columns.to_vec(), rows: rows.collect(), sorted_by }
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// The column after the one that it is sorted by.
    pub(super) fn next_order(&self, view: &View) -> usize {
        (self.order(view) + 1) % self.columns.len()
    }

    fn order(&self, view: &View) -> usize {
        view.sorted_by.unwrap_or(self.sorted_by)
    }

    /// Draws a head and as many rows as fit below it, column by column.
    pub(super) fn draw(&self, view: &View, area: Rect, head: Style, colored: bool, buffer: &mut Buffer) {
        let order = self.order(view);
        let mut rows: Vec<&Vec<Cell>> = self.rows.iter().collect();
        rows.sort_by(|one, other| one[order].compare(&other[order]));
        let room = usize::from(area.height.saturating_sub(1));
        let first = view.first.min(rows.len().saturating_sub(room));
        buffer.set_style(Rect { height: area.height.min(1), ..area }, head);
        let mut left = 0;
        for (column, title) in self.columns.iter().enumerate() {
            let cells = rows.iter().map(|row| &row[column]);
            let width = cells.clone().map(Cell::width).chain([title.len()]).max().unwrap_or_default();
            let is_text = column == 0 || cells.clone().any(|cell| cell.is_text);
            let mut write = |nth: usize, indent: usize, text: &str, style: Style| {
                let (x, y) = (left + indent, area.y + nth as u16);
                if x < usize::from(area.width) && nth < usize::from(area.height) {
                    buffer.set_stringn(area.x + x as u16, y, text, usize::from(area.width) - x, style);
                }
            };
            let indent = |len: usize| if is_text { 0 } else { width - len };
            write(0, indent(title.len()), title, head);
            if column == order {
                // It stands in the gap where the title fills its column.
                write(0, indent(title.len()) + title.len(), "↓", head);
            }
            for (nth, cell) in cells.skip(first).take(room).enumerate() {
                let style = if colored { color(cell.mark) } else { emphasis(cell.mark) };
                write(1 + nth, indent(cell.width()), &cell.text, style);
            }
            left += width + GAP;
        }
    }
}

/// Columns between two columns.
const GAP: usize = 2;

fn color(mark: Option<Mark>) -> Style {
    match mark {
        None => Style::new(),
        Some(Mark::Warning) => Style::new().fg(Color::Yellow),
        Some(Mark::Bad) => Style::new().fg(Color::Red).add_modifier(Modifier::BOLD),
    }
}

fn emphasis(mark: Option<Mark>) -> Style {
    if mark.is_some() { Style::new().add_modifier(Modifier::BOLD) } else { Style::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let cases = [
            (0.0, "0"),
            (7.4, "7"),
            (999.0, "999"),
            (999.6, "1.0 k"),
            (1500.0, "1.5 k"),
            (99_940.0, "99.9 k"),
            (123_456.0, "123 k"),
            (12_345_678.0, "12.3 M"),
            (4e9, "4.0 G"),
            (5e15, "5000 T"),
        ];
        for (number, text) in cases {
            assert_eq!(short(number), text);
        }
    }
}
