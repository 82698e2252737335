//! The plots.

use std::error::Error;
use std::path::Path;

use plotters::coord::Shift;
use plotters::prelude::*;

use crate::results::{Engine, Results, Row};

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

/// One line: flows, and lowest, median, highest.
struct Series {
    name: String,
    points: Vec<(f64, [f64; 3])>,
}

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
    let alone = results.rows("pcap");
    if !alone.is_empty() {
        against_workers(&directory.join("workers.svg"), &alone)?;
    }
    Ok(())
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
        let point = (f64::from(row.flows), [row.lowest, row.median, row.highest]);
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
    let top = points().fold(0f64, |top, (_, [_, _, high])| top.max(*high)) * 1.35;
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
        let medians = series.points.iter().map(|(flows, [_, median, _])| (*flows, *median));
        chart
            .draw_series(LineSeries::new(medians.clone(), color.stroke_width(2)))?
            .label(&series.name)
            .legend(|(x, y)| PathElement::new([(x, y), (x + 18, y)], color.stroke_width(2)));
        chart.draw_series(medians.map(|point| Circle::new(point, 4, color.filled())))?;
        let ranges = series.points.iter();
        chart.draw_series(ranges.map(|(flows, [low, _, high])| {
            PathElement::new([(*flows, *low), (*flows, *high)], color.stroke_width(1))
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

fn against_workers(path: &Path, rows: &[Row]) -> Outcome {
    let name = |row: &Row| match row.workers {
        1 => format!("{} flows, one worker", row.flows),
        workers => format!("{workers} workers, half handed over"),
    };
    let bars: Vec<(String, [f64; 3])> = rows.iter().map(|row| (name(row), row.mpps)).collect();
    let top = bars.iter().fold(0f64, |top, (_, [_, _, high])| top.max(*high)) * 1.15;
    let area = SVGBackend::new(path, SIZE).into_drawing_area();
    let mut chart =
        prepare(&area, "Packets through workers that have a CPU each, outbound, without a second process")?
            .build_cartesian_2d(-0.5..bars.len() as f64 - 0.5, 0.0..top)?;
    let name = |at: &f64| {
        let index = at.round();
        let bar = ((at - index).abs() < 0.01).then(|| bars.get(index as usize)).flatten();
        bar.map_or_else(String::new, |(name, _)| name.clone())
    };
    chart
        .configure_mesh()
        .disable_x_mesh()
        .x_labels(2 * bars.len() + 1)
        .x_label_formatter(&name)
        .y_desc("Mpps")
        .y_label_formatter(&|value: &f64| format!("{value:.0}"))
        .light_line_style(TRANSPARENT)
        .bold_line_style(BLACK.mix(0.12))
        .label_style((FONT, 13))
        .axis_desc_style((FONT, 14))
        .draw()?;
    let place = |index: usize| index as f64;
    chart.draw_series(bars.iter().enumerate().map(|(index, (_, [_, median, _]))| {
        Rectangle::new(
            [(place(index) - 0.3, 0.0), (place(index) + 0.3, *median)],
            COLORS[0].mix(0.8).filled(),
        )
    }))?;
    chart.draw_series(bars.iter().enumerate().map(|(index, (_, [low, _, high]))| {
        PathElement::new([(place(index), *low), (place(index), *high)], BLACK.stroke_width(1))
    }))?;
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
