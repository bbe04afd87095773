//! The live view of a run on a terminal: what the last minutes showed, and what was said. Pure but for its drawing;
//! `screen` has the terminal.

pub mod screen;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Cell, Paragraph, Row, Sparkline, Table};

use super::Percentiles;
use super::model::Second;

/// Seconds that are kept: as many as the widest terminal has columns for.
const SECONDS_MAX: usize = 1_024;
/// Lines that are kept.
const LINES_MAX: usize = 256;
/// Below this width nothing stands side by side.
const WIDE: u16 = 100;
/// Rows of a sparkline with its frame.
const SPARK_ROWS: u16 = 4;

/// What a run showed so far.
#[derive(Debug, Default)]
pub struct Dashboard {
    title: String,
    seconds: VecDeque<Second>,
    /// Sessions that are to be connected.
    sessions: usize,
    errors: BTreeMap<String, u64>,
    lost: u64,
    lines: VecDeque<String>,
    fault: Option<String>,
}

impl Dashboard {
    /// Of a run that is to be named so.
    pub fn new(title: String) -> Self {
        Self { title, ..Self::default() }
    }

    /// A second of a run with so many sessions; `fault` is being done meanwhile.
    pub fn second(&mut self, second: Second, sessions: usize, fault: Option<String>) {
        for (code, count) in &second.errors {
            *self.errors.entry(code.clone()).or_default() += count;
        }
        self.lost += second.lost;
        if self.seconds.len() >= SECONDS_MAX {
            self.seconds.pop_front();
        }
        self.seconds.push_back(second);
        (self.sessions, self.fault) = (sessions, fault);
    }

    /// Something that a person is told.
    pub fn line(&mut self, text: &str) {
        for line in text.lines() {
            if self.lines.len() >= LINES_MAX {
                self.lines.pop_front();
            }
            // A terminal obeys what is no letter.
            self.lines.push_back(line.chars().filter(|character| !character.is_control()).collect());
        }
    }

    /// Draws all of it, as far as there is room.
    pub fn draw(&self, frame: &mut Frame<'_>) {
        let [head, body, said, foot] =
            Layout::vertical([Constraint::Length(1), Constraint::Fill(3), Constraint::Fill(1), Constraint::Length(1)])
                .areas(frame.area());
        self.draw_head(frame, head);
        if body.width >= WIDE {
            let [left, right] = Layout::horizontal([Constraint::Fill(3), Constraint::Fill(2)]).areas(body);
            self.draw_sparks(frame, left);
            self.draw_tables(frame, right);
        } else {
            let [above, below] = Layout::vertical([Constraint::Fill(1), Constraint::Fill(1)]).areas(body);
            self.draw_sparks(frame, above);
            self.draw_tables(frame, below);
        }
        self.draw_lines(frame, said);
        let keys = Style::new().add_modifier(Modifier::DIM);
        frame.render_widget(Line::styled("ctrl-c or q ends the run and prints its summary", keys), foot);
    }

    fn last(&self) -> Option<&Second> {
        self.seconds.back()
    }

    fn draw_head(&self, frame: &mut Frame<'_>, area: Rect) {
        let bold = Style::new().add_modifier(Modifier::BOLD);
        let mut words = vec![Span::styled(self.title.clone(), bold)];
        if let Some(last) = self.last() {
            words.push(format!("  {:.0} s  {}/{} connected", last.at_s, last.connected, self.sessions).into());
        }
        if let Some(fault) = &self.fault {
            let alarm = Style::new().fg(Color::White).bg(Color::Red).add_modifier(Modifier::BOLD);
            words.extend([Span::raw("  "), Span::styled(format!(" fault: {fault} "), alarm)]);
        }
        frame.render_widget(Line::from(words), area);
    }

    fn draw_sparks(&self, frame: &mut Frame<'_>, area: Rect) {
        type Figure = (&'static str, Color, fn(&Second) -> u64, fn(u64) -> String);
        let a_second = |figure: u64| format!("{figure}/s");
        let time = |us: u64| format!("{:.1?}", Duration::from_micros(us));
        let figures: [Figure; 6] = [
            ("sent", Color::Blue, |second| second.a_second(second.sent), a_second),
            ("acked", Color::Cyan, |second| second.a_second(second.acked), a_second),
            ("delivered", Color::Green, |second| second.a_second(second.delivered), a_second),
            ("ack p99", Color::Yellow, |second| second.ack_us.p99, time),
            ("delivery p99", Color::Magenta, |second| second.delivery_us.p99, time),
            ("connected", Color::Gray, |second| second.connected, |count| count.to_string()),
        ];
        let room = usize::from(area.height / SPARK_ROWS).clamp(1, figures.len());
        let areas = Layout::vertical(vec![Constraint::Fill(1); room]).split(area);
        for ((name, colour, figure, words), area) in figures.into_iter().zip(areas.iter()) {
            let columns = usize::from(area.width.saturating_sub(2));
            let behind = self.seconds.len().saturating_sub(columns);
            let shown: Vec<u64> = self.seconds.iter().skip(behind).map(figure).collect();
            let most = shown.iter().copied().max().unwrap_or(0);
            let title = match self.last() {
                Some(last) => format!(" {name} {}  max {} ", words(figure(last)), words(most)),
                None => format!(" {name} "),
            };
            let spark = Sparkline::default().data(shown).max(most.max(1)).style(Style::new().fg(colour));
            frame.render_widget(spark.block(Block::bordered().title(title)), *area);
        }
    }

    fn draw_tables(&self, frame: &mut Frame<'_>, area: Rect) {
        let Some(last) = self.last() else { return };
        let processes = u16::try_from(last.servers.len() + 1).unwrap_or(u16::MAX).saturating_add(3);
        let [times, servers, errors] =
            Layout::vertical([Constraint::Length(5), Constraint::Length(processes), Constraint::Fill(1)]).areas(area);
        let columns =
            [Constraint::Length(9), Constraint::Fill(1), Constraint::Fill(1), Constraint::Fill(1), Constraint::Fill(1)];
        let rows = [times_row("ack", &last.ack_us), times_row("delivery", &last.delivery_us)];
        let table = Table::new(rows, columns).header(Row::new(["", "p50", "p90", "p99", "max"]));
        frame.render_widget(table.block(Block::bordered().title(" this second ")), times);

        let share = |name: &str, cpu: f64, rss: u64| {
            Row::new([name.to_owned(), format!("{:.0} %", cpu * 100.0), format!("{} MiB", rss >> 20)])
        };
        let mut rows: Vec<Row<'_>> =
            last.servers.iter().map(|process| share(&process.name, process.cpu_share, process.rss_bytes)).collect();
        rows.extend(last.harness.map(|harness| share("this harness", harness.cpu_share, harness.rss_bytes)));
        let columns = [Constraint::Fill(2), Constraint::Fill(1), Constraint::Fill(1)];
        let table = Table::new(rows, columns).header(Row::new(["process", "CPU", "RSS"]));
        frame.render_widget(table.block(Block::bordered().title(" processes ")), servers);

        let alarm = Style::new().fg(Color::Red);
        let counted = |(code, count): (&String, &u64)| {
            let now = last.errors.get(code).copied().unwrap_or(0);
            let row =
                Row::new([Cell::from(code.clone()), Cell::from(count.to_string()), Cell::from(format!("+{now}"))]);
            if now > 0 { row.style(alarm) } else { row }
        };
        let mut rows: Vec<Row<'_>> = self.errors.iter().map(counted).collect();
        if self.lost > 0 {
            rows.push(Row::new(["connections lost".to_owned(), self.lost.to_string(), format!("+{}", last.lost)]));
        }
        let title = if rows.is_empty() { " no refusals " } else { " refusals, all and this second " };
        let table = Table::new(rows, [Constraint::Fill(3), Constraint::Fill(1), Constraint::Fill(1)]);
        frame.render_widget(table.block(Block::bordered().title(title)), errors);
    }

    fn draw_lines(&self, frame: &mut Frame<'_>, area: Rect) {
        let rows = usize::from(area.height.saturating_sub(2));
        let behind = self.lines.len().saturating_sub(rows);
        let shown: Vec<Line<'_>> = self.lines.iter().skip(behind).map(|line| Line::raw(line.as_str())).collect();
        frame.render_widget(Paragraph::new(shown).block(Block::bordered().title(" said ")), area);
    }
}

fn times_row(name: &str, of: &Percentiles) -> Row<'static> {
    let time = |us: u64| if of.is_empty() { "-".to_owned() } else { format!("{:.1?}", Duration::from_micros(us)) };
    Row::new([name.to_owned(), time(of.p50), time(of.p90), time(of.p99), time(of.max)])
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::*;
    use crate::report::model::{Harness, Process};

    fn drawn(dashboard: &Dashboard, width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| dashboard.draw(frame)).unwrap();
        terminal.backend().to_string()
    }

    fn second(at: u32) -> Second {
        Second {
            at_s: f64::from(at),
            span_s: 1.0,
            sent: 500,
            acked: 490,
            delivered: 4_900,
            errors: [("unavailable (2000)".to_owned(), 3)].into(),
            lost: 1,
            connected: 42,
            ack_us: Percentiles { count: 9, p50: 1_500, p90: 2_000, p99: 7_250, p99_9: 8_000, max: 9_000 },
            servers: vec![Process { name: "edge-1".into(), rss_bytes: 64 << 20, cpu_share: 0.37 }],
            harness: Some(Harness { rss_bytes: 20 << 20, cpu_share: 0.9 }),
            ..Second::default()
        }
    }

    #[test]
    fn a_run_is_seen_with_its_rates_times_processes_refusals_and_fault() {
        let mut dashboard = Dashboard::new("steady".into());
        for at in 1..=5 {
            dashboard.second(second(at), 50, (at == 5).then(|| "kill edge-1".to_owned()));
        }
        dashboard.line("fault 1 kill edge-1\nsecond\u{1b}[2J line");
        let seen = drawn(&dashboard, 140, 40);
        for words in [
            "steady  5 s  42/50 connected",
            "fault: kill edge-1",
            "sent 500/s  max 500/s",
            "delivered 4900/s",
            "ack p99 7.2ms",
            "edge-1",
            "37 %",
            "64 MiB",
            "this harness",
            "unavailable (2000)",
            "15",
            "+3",
            "connections lost",
            "second[2J line",
            "ctrl-c",
            "█",
        ] {
            assert!(seen.contains(words), "{words}: {seen}");
        }
        assert!(!seen.contains('\u{1b}'), "no text moves the cursor");
    }

    #[test]
    fn any_room_is_enough_and_a_run_of_nothing_too() {
        let mut full = Dashboard::new("steady".into());
        (1..=3_000).for_each(|at| full.second(second(at), 50, None));
        (0..1_000).for_each(|number| full.line(&format!("line {number}")));
        assert!(full.seconds.len() == SECONDS_MAX && full.lines.len() == LINES_MAX);
        for (width, height) in [(1, 1), (20, 5), (80, 24), (99, 12), (300, 100)] {
            drawn(&full, width, height);
            drawn(&Dashboard::default(), width, height);
        }
        assert!(drawn(&full, 80, 40).contains("line 999"), "the last line is seen");
    }
}
