//! The plots.

use std::error::Error;
use std::path::Path;

use plotters::coord::Shift;
use plotters::prelude::*;

use crate::results::{Engine, Layout, Results, Sample};
use crate::rows::{Row, Span};

type Outcome = Result<(), Box<dyn Error>>;
type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

const SIZE: (u32, u32) = (760, 420);
const FONT: &str = "sans-serif";
/// Told apart without colour vision too (Okabe and Ito).
const COLORS: [RGBColor; 5] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 86, 86),
];

/// One line: flows, and what was found with so many.
struct Series {
    name: String,
    points: Vec<(f64, Span)>,
}

/// One bar.
type Bar = (String, Span);

/// Writes every plot that there are figures for.
pub(crate) fn all(results: &Results, directory: &Path) -> Outcome {
    let memif = results.rows("memif");
    if !memif.is_empty() {
        let mut series = vec![series("gateway, NAT", &memif, "nat")];
        if let (Some(io), Some((last, _))) =
            (memif.iter().find(|row| row.what == "io"), series[0].points.last())
        {
            // Plain forwarding knows no flows.
            let points = vec![(64.0, io.mpps), (*last, io.mpps)];
            series.push(Series { name: "plain forwarding (the generator's ceiling)".into(), points });
        }
        series.push(series_of_kernel(results));
        let title = "Packets through one worker over memif, 64 octets, both directions";
        against_flows(&directory.join("flows.svg"), title, "Mpps", &series)?;
    }
    if let Some(engine) = &results.engine {
        let title = format!("What a packet costs in the engine alone ({})", engine.unit);
        against_flows(&directory.join("engine.svg"), &title, "cycles a packet", &engine_series(engine))?;
    }
    let alone: Vec<Bar> = results.rows("pcap").iter().map(bar_of_pcap).collect();
    let title = "Packets through workers that have a CPU each, outbound, without a second process";
    bars(&directory.join("workers.svg"), title, &alone)?;
    let layouts: Vec<Bar> = results.workers.iter().map(bar_of_layout).collect();
    let title = "Packets through workers without a wire, both directions";
    bars(&directory.join("layouts.svg"), title, &layouts)?;
    match results.samples.iter().find(|sample| !sample.timeline.is_empty()) {
        Some(sample) => expiry(&directory.join("expiry.svg"), sample),
        None => Ok(()),
    }
}

fn series(name: &str, rows: &[Row], what: &str) -> Series {
    let points =
        rows.iter().filter(|row| row.what == what).map(|row| (f64::from(row.flows), row.mpps)).collect();
    Series { name: name.into(), points }
}

fn series_of_kernel(results: &Results) -> Series {
    series("Linux nftables over veth", &results.rows("kernel"), "nftables")
}

/// A line for each case that was measured at several sizes.
fn engine_series(engine: &Engine) -> Vec<Series> {
    let mut all: Vec<Series> = Vec::new();
    for row in &engine.rows {
        let span = Span { median: row.median, lowest: row.lowest, highest: row.highest };
        let point = (f64::from(row.flows), span);
        match all.iter_mut().find(|series| series.name == row.case) {
            Some(series) => series.points.push(point),
            None => all.push(Series { name: row.case.clone(), points: vec![point] }),
        }
    }
    all.retain(|series| series.points.len() > 1);
    all
}

fn against_flows(path: &Path, title: &str, unit: &str, series: &[Series]) -> Outcome {
    let points = || series.iter().flat_map(|series| &series.points);
    let (low, high) =
        points().fold((f64::MAX, 0f64), |(low, high), (flows, _)| (low.min(*flows), high.max(*flows)));
    let top = points().fold(0f64, |top, (_, span)| top.max(span.highest)) * 1.35;
    if top == 0.0 {
        return Ok(());
    }
    let area = SVGBackend::new(path, SIZE).into_drawing_area();
    let mut chart =
        prepare(&area, title)?.build_cartesian_2d((low * 0.7..high * 1.4).log_scale(), 0.0..top)?;
    let ticks = |flows: &f64| match *flows {
        flows if flows >= 1e6 => format!("{:.0} M", flows / 1e6),
        flows if flows >= 1e3 => format!("{:.0} k", flows / 1e3),
        flows => format!("{flows:.0}"),
    };
    chart
        .configure_mesh()
        .x_desc("flows")
        .y_desc(unit)
        .x_label_formatter(&ticks)
        .y_label_formatter(&|value: &f64| format!("{value:.0}"))
        .light_line_style(TRANSPARENT)
        .bold_line_style(BLACK.mix(0.12))
        .label_style((FONT, 13))
        .axis_desc_style((FONT, 14))
        .draw()?;
    for (series, color) in series.iter().zip(COLORS.iter().cycle()) {
        if series.points.is_empty() {
            continue;
        }
        let medians = series.points.iter().map(|(flows, span)| (*flows, span.median));
        chart
            .draw_series(LineSeries::new(medians.clone(), color.stroke_width(2)))?
            .label(&series.name)
            .legend(|(x, y)| PathElement::new([(x, y), (x + 18, y)], color.stroke_width(2)));
        chart.draw_series(medians.map(|point| Circle::new(point, 4, color.filled())))?;
        let ranges = series.points.iter();
        chart.draw_series(ranges.map(|(flows, span)| {
            PathElement::new([(*flows, span.lowest), (*flows, span.highest)], color.stroke_width(1))
        }))?;
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .background_style(WHITE.mix(0.85))
        .border_style(BLACK.mix(0.3))
        .label_font((FONT, 13))
        .draw()?;
    Ok(area.present()?)
}

fn bar_of_pcap(row: &Row) -> Bar {
    let name = match row.workers {
        1 => format!("{} flows, one worker", row.flows),
        workers => format!("{workers} workers, half handed over"),
    };
    (name, row.mpps)
}

fn bar_of_layout(row: &Layout) -> Bar {
    let (lowest, highest) = (row.mpps.first().copied(), row.mpps.last().copied());
    let span = Span {
        median: row.median,
        lowest: lowest.unwrap_or(row.median),
        highest: highest.unwrap_or(row.median),
    };
    (format!("{}, {} frames", row.layout, row.frames), span)
}

fn bars(path: &Path, title: &str, bars: &[Bar]) -> Outcome {
    if bars.is_empty() {
        return Ok(());
    }
    let top = bars.iter().fold(0f64, |top, (_, span)| top.max(span.highest)) * 1.05;
    let height = 84 + 44 * bars.len() as u32;
    let area = SVGBackend::new(path, (SIZE.0, height)).into_drawing_area();
    let lowest = 0.5 - bars.len() as f64;
    let mut chart =
        prepare(&area, title)?.y_label_area_size(290).build_cartesian_2d(0.0..top, lowest..0.5)?;
    let name = |at: &f64| {
        let index = -at.round();
        let bar = ((at + index).abs() < 0.01).then(|| bars.get(index as usize)).flatten();
        bar.map_or_else(String::new, |(name, _)| name.clone())
    };
    chart
        .configure_mesh()
        .disable_y_mesh()
        .y_labels(2 * bars.len() + 1)
        .y_label_formatter(&name)
        .x_desc("Mpps")
        .x_label_formatter(&|value: &f64| format!("{value:.0}"))
        .light_line_style(TRANSPARENT)
        .bold_line_style(BLACK.mix(0.12))
        .label_style((FONT, 13))
        .axis_desc_style((FONT, 14))
        .draw()?;
    let place = |index: usize| -(index as f64);
    chart.draw_series(bars.iter().enumerate().map(|(index, (_, span))| {
        Rectangle::new(
            [(0.0, place(index) - 0.3), (span.median, place(index) + 0.3)],
            COLORS[0].mix(0.8).filled(),
        )
    }))?;
    chart.draw_series(bars.iter().enumerate().map(|(index, (_, span))| {
        PathElement::new([(span.lowest, place(index)), (span.highest, place(index))], BLACK.stroke_width(1))
    }))?;
    Ok(area.present()?)
}

/// Sessions that have ended, second by second of one run.
fn expiry(path: &Path, sample: &Sample) -> Outcome {
    let points = || sample.timeline.iter().map(|(at, ended)| (*at, *ended as f64));
    let (end, top) =
        points().fold((1.0, 1.0), |(end, top): (f64, f64), (at, ended)| (end.max(at), top.max(ended)));
    let area = SVGBackend::new(path, SIZE).into_drawing_area();
    let title = format!(
        "Sessions that expire beside {:.1} Mpps, of which {} packets were lost",
        sample.received_mpps, sample.lost
    );
    let mut chart = prepare(&area, &title)?.build_cartesian_2d(0.0..end, 0.0..top * 1.1)?;
    chart
        .configure_mesh()
        .x_desc("seconds")
        .y_desc("thousands ended")
        .y_label_formatter(&|value: &f64| format!("{:.0}", value / 1e3))
        .light_line_style(TRANSPARENT)
        .bold_line_style(BLACK.mix(0.12))
        .label_style((FONT, 13))
        .axis_desc_style((FONT, 14))
        .draw()?;
    chart.draw_series(LineSeries::new(points(), COLORS[0].stroke_width(2)))?;
    chart.draw_series(points().map(|point| Circle::new(point, 3, COLORS[0].filled())))?;
    Ok(area.present()?)
}

fn prepare<'a, 'b>(
    area: &'a Area<'b>,
    title: &str,
) -> Result<ChartBuilder<'a, 'b, SVGBackend<'b>>, Box<dyn Error>> {
    area.fill(&WHITE)?;
    let mut builder = ChartBuilder::on(area);
    builder.caption(title, (FONT, 16)).margin(12).x_label_area_size(44).y_label_area_size(54);
    Ok(builder)
}
