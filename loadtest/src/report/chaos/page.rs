//! What was felt of each fault as a page in Markdown: the fault table.

use std::fmt::Write as _;

use super::{ChaosReport, Felt, calls};
use crate::output::OutputFile;
use crate::report::Summary;
use crate::run::RunError;

/// Writes what was felt as a page in Markdown.
///
/// # Errors
/// Those of the file.
pub fn write_table(file: OutputFile, summary: &Summary) -> Result<(), RunError> {
    let Some(chaos) = &summary.chaos else { return Ok(()) };
    let date = jiff::Timestamp::now().strftime("%Y-%m-%d").to_string();
    file.write(page(summary, chaos, &date, &machine(), &command_line()).as_bytes())
}

fn command_line() -> String {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    format!("panda-loadtest {}", arguments.join(" "))
}

/// Cores and memory, as the system says.
fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kilobytes = memory.lines().next().and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    let memory =
        kilobytes.map_or_else(String::new, |kilobytes| format!(", {} GiB of memory", kilobytes.div_ceil(1 << 20)));
    format!("{cores} cores{memory}, {}", std::env::consts::OS)
}

pub(super) fn page(summary: &Summary, chaos: &ChaosReport, date: &str, machine: &str, command: &str) -> String {
    let mut page = String::from("# Faults\n\n");
    let bound = chaos.bound.as_secs_f64();
    let (sessions, chats, rate) = (summary.sessions, summary.chats, chaos.rate);
    // Writing to a string cannot fail.
    let written = write!(
        page,
        "What clients feel when a process of a cluster is lost. Made by `ops/fault-table` on {date}: {machine}, all\n\
         processes on it; {sessions} sessions in {chats} chats over {edges} edges, {rate} messages/s. The command:\n\n    {command}\n\n\
         Times are in seconds, from when a send or call was due. **Ack**, **delivery** and **HTTP** are the longest of\n\
         all; **held** is the longest wait for an ack until the fault's end began: what the end itself costs, such as a\n\
         start, is not in it. **Disturbed** are all moments together whose sends were not all acked and delivered to every\n\
         session within {bound} s; **recovered** is the first moment behind the first trouble from which all was well for 2 s,\n\
         **settled** the last moment of trouble, after the process was back too. A client repeats what was refused for\n\
         now by itself.\n\n\
         **Kill** is kill -9, **pause** a process that hangs with its connections open, **stop** one that ends in order;\n\
         each comes back after the time. **Restart** is stopped in order and started at once. **Absent**: everything of the\n\
         part is away while an edge, an API and all routers start. **Link-cut**: the links of a router are reset and new ones\n\
         refused, or stay open and silent, while the router itself goes on. **Disk-full**: nothing is left of a service's\n\
         disk; with the room, it is started where it had ended.\n\n\
         | part | fault | ack | held | delivery | HTTP | disturbed | recovered | settled | connections lost | refusals | HTTP failures |\n\
         |---|---|---|---|---|---|---|---|---|---|---|---|\n",
        edges = summary.targets.len(),
    );
    debug_assert!(written.is_ok());
    for felt in &chaos.faults {
        page.push_str(&row(felt));
    }
    page.push('\n');
    page.push_str(&verdict(summary, chaos));
    page
}

fn row(felt: &Felt) -> String {
    let time = |time: Option<f64>| time.map_or_else(|| "never".into(), |time| format!("{time:.1}"));
    let hold = felt.fault.hold;
    let mut fault = felt.fault.kind.label().to_owned();
    if !hold.is_zero() {
        fault.push_str(&format!(" {} s", hold.as_secs()));
    }
    if let Some(cut) = felt.fault.cut {
        fault.push_str(&format!(", {}", cut.words()));
    }
    let held = felt.longest_ack_held_s.map_or_else(String::new, |held| format!("{held:.1}"));
    format!(
        "| {} | {fault} | {:.1} | {held} | {:.1} | {:.1} | {:.1} | {} | {} | {} | {} | {} |\n",
        felt.fault.process,
        felt.longest_ack_s,
        felt.longest_delivery_s,
        felt.longest_call_s,
        felt.disturbed_s,
        time(felt.recovered_s),
        time(felt.settled_s),
        felt.counts.connections_lost,
        felt.counts.refusals(),
        calls(&felt.failed_calls),
    )
}

pub(super) fn verdict(summary: &Summary, chaos: &ChaosReport) -> String {
    let checked = &summary.checked;
    let mut text = match summary.held {
        Some(true) => format!(
            "Lost, doubled, reordered or altered: nothing, of {} acked sends and {} deliveries in {} streams; the store,\n\
             read back, says the same.\n",
            checked.acked, checked.deliveries, checked.streams
        ),
        Some(false) => format!("**The checker found {} violations.**\n", summary.violations),
        None => "**Nothing could be judged: the cluster was gone in the end.**\n".into(),
    };
    for felt in &chaos.faults {
        if let Some(losses) = felt.losses.filter(|losses| !losses.is_none()) {
            text.push_str(&format!(
                "- sends acked between {} {} and the next fault: {losses}; it or a later one may have lost them\n",
                felt.fault.kind.label(),
                felt.fault.process
            ));
        }
    }
    if let Some(before) = chaos.losses_before.filter(|losses| !losses.is_none()) {
        text.push_str(&format!("- sends acked before the first fault: {before}\n"));
    }
    for felt in chaos.faults.iter().filter(|felt| !felt.said.is_empty()) {
        let (kind, process, said) = (felt.fault.kind.label(), &felt.fault.process, felt.said.join("; "));
        text.push_str(&format!("- {kind} {process}: {said}\n"));
    }
    let missed = chaos.schedule.len() - chaos.faults.len();
    if missed > 0 {
        text.push_str(&format!("\n**{missed} faults were not done, because the cluster did not recover:**\n\n"));
    }
    for (felt, problem) in chaos.faults.iter().filter_map(|felt| Some((felt, felt.problem.as_ref()?))) {
        text.push_str(&format!("- {} {}: {problem}\n", felt.fault.kind.label(), felt.fault.process));
    }
    let broken: Vec<_> =
        chaos.faults.iter().flat_map(|felt| felt.broken.iter().map(move |what| (felt, what))).collect();
    // What was cut short was not looked at, and what was not judged may be anything.
    if broken.is_empty() && (summary.held.is_none() || !chaos.recovered()) {
        return text;
    }
    if broken.is_empty() {
        text.push_str(
            "\nSockets of edges that were not touched stayed up; every refusal for now named its code and when to come back.\n",
        );
    } else {
        text.push_str("\n**What should have held and did not:**\n\n");
    }
    for (felt, what) in broken {
        text.push_str(&format!("- {} {}: {what}\n", felt.fault.kind.label(), felt.fault.process));
    }
    text
}
