//! Scale on paper: a page that plans millions of sockets from measured reports. Every figure is measured, and says in which
//! report, or assumed, and says by which flag; what is neither is asked for with the command that measures it.

pub mod measured;
pub mod plan;
#[cfg(test)]
mod samples;

use std::fmt::Write as _;

use self::measured::{Figure, Measured};
pub use self::plan::Assumed;
use self::plan::{Plan, Planned};
use super::model::Report;

/// Sockets that are planned.
const SOCKETS: [f64; 3] = [1e6, 1e7, 1e8];

/// The page, in Markdown.
pub fn page(reports: &[(String, Report)], assumed: &Assumed) -> String {
    let mut page = String::from(
        "# Capacity\n\nMade by `panda-loadtest capacity` from reports of measured runs. A figure is measured, and says in which\n\
         report, or assumed, and says by which flag. What is neither is asked for, and no plan is made of it.\n\n",
    );
    let measured = Measured::of(reports);
    // Writing to a string cannot fail.
    let written = runs(&mut page, reports)
        .and_then(|()| figures(&mut page, &measured))
        .and_then(|()| assumptions(&mut page, assumed))
        .and_then(|()| plans(&mut page, &measured, assumed));
    debug_assert!(written.is_ok());
    page
}

fn runs(page: &mut String, reports: &[(String, Report)]) -> std::fmt::Result {
    page.push_str(
        "## Reports\n\n| report | what | machine | version | commit | command |\n|---|---|---|---|---|---|\n",
    );
    for (name, report) in reports {
        let meta = &report.told.meta;
        let commit: String = meta.commit.as_deref().unwrap_or("not known").chars().take(12).collect();
        let what = format!("{} sessions in {} chats over {}", report.sessions, report.chats, report.transport);
        let cells = [name, &what, &meta.machine.to_string(), &meta.version, &commit].map(|text| cell(text)).join(" | ");
        writeln!(page, "| {cells} | `{}` |", cell(&meta.command).replace('`', "'"))?;
    }
    for (name, report) in reports {
        for note in &report.told.meta.notes {
            writeln!(page, "\n{}: {}", cell(name), cell(note))?;
        }
        let limits = &report.told.verdict.harness_limits;
        for why in limits.iter().chain(&report.problem) {
            writeln!(page, "\n**{}: {}**", cell(name), cell(why))?;
        }
        if report.held == Some(false) {
            writeln!(page, "\n**{}: the checker found {} violations.**", cell(name), report.violations)?;
        }
    }
    page.push('\n');
    Ok(())
}

/// A figure of the page: what it is, how it is shown, and the command that measures it.
struct Asked {
    what: &'static str,
    of: fn(&Measured) -> &Option<Figure>,
    shown: fn(f64) -> String,
    command: &'static str,
}

const IDLE: &str = "panda-loadtest idle --sessions 10000 --settle 30s --duration 60s --transport ws --watch edge-1=PID --watch router-1=PID \
                    --json idle.json";
const STEADY: &str = "panda-loadtest steady --sessions 3000 --chats 300 --rate 1000 --duration 60s --transport ws \
                      --watch edge-1=PID --watch router-1=PID --watch kafka-1=PID --watch cassandra-1=PID --json steady.json";

const ASKED: [Asked; 8] = [
    Asked {
        what: "memory of an edge for a session",
        of: |measured| &measured.edge_session_bytes,
        shown: |bytes| format!("{} bytes: {} sessions a GiB", whole(bytes), whole(1_073_741_824.0 / bytes.max(1.0))),
        command: IDLE,
    },
    Asked {
        what: "memory of routers for a session",
        of: |measured| &measured.router_session_bytes,
        shown: |bytes| format!("{} bytes: {} sessions a GiB", whole(bytes), whole(1_073_741_824.0 / bytes.max(1.0))),
        command: IDLE,
    },
    Asked {
        what: "cores of an edge for idle sessions",
        of: |measured| &measured.edge_idle_cores,
        shown: |cores| format!("{:.2} of a core for 100,000 sessions", cores * 1e5),
        command: IDLE,
    },
    Asked {
        what: "an edge, to connect a session",
        of: |measured| &measured.edge_connect_cpu_s,
        shown: |cpu| format!("{:.0} µs: {} a second and core", cpu * 1e6, whole(1.0 / cpu)),
        command: IDLE,
    },
    Asked {
        what: "edges, for a delivery",
        of: |measured| &measured.edge_delivery_cpu_s,
        shown: |cpu| format!("{:.1} µs: {} deliveries a second and core", cpu * 1e6, whole(1.0 / cpu)),
        command: STEADY,
    },
    Asked {
        what: "routers, for a message",
        of: |measured| &measured.router_message_cpu_s,
        shown: |cpu| format!("{:.1} µs: {} messages a second and core", cpu * 1e6, whole(1.0 / cpu)),
        command: STEADY,
    },
    Asked {
        what: "brokers, for a message",
        of: |measured| &measured.broker_message_cpu_s,
        shown: |cpu| format!("{:.1} µs: {} messages a second and core", cpu * 1e6, whole(1.0 / cpu)),
        command: STEADY,
    },
    Asked {
        what: "the event store, for a message",
        of: |measured| &measured.store_message_cpu_s,
        shown: |cpu| format!("{:.1} µs: {} messages a second and core", cpu * 1e6, whole(1.0 / cpu)),
        command: STEADY,
    },
];

fn figures(page: &mut String, measured: &Measured) -> std::fmt::Result {
    page.push_str("## Measured\n\n| figure | measured | report | how |\n|---|---|---|---|\n");
    let mut missing = Vec::new();
    for asked in &ASKED {
        match (asked.of)(measured) {
            Some(figure) => {
                let shown = (asked.shown)(figure.value);
                writeln!(page, "| {} | {shown} | {} | {} |", asked.what, cell(&figure.report), cell(&figure.how))?;
            }
            None => missing.push(asked),
        }
    }
    page.push('\n');
    if !missing.is_empty() {
        writeln!(
            page,
            "**Not measured.** No report shows these; a report takes at least {} sessions, or {} acked messages, and the\n\
             processes under names that begin with `edge`, `router`, `kafka`, and `cassandra` or `scylla` (`ops/cluster status` has\n\
             their numbers). Memory is that of processes that were started anew: what served before holds room that hides what\n\
             sessions cost.\n",
            measured::SESSIONS_MIN,
            measured::MESSAGES_MIN
        )?;
        for asked in missing {
            writeln!(page, "- {}: `{}`", asked.what, asked.command)?;
        }
        page.push('\n');
    }
    Ok(())
}

fn assumptions(page: &mut String, assumed: &Assumed) -> std::fmt::Result {
    page.push_str("## Assumed\n\n| what | assumed | flag |\n|---|---|---|\n");
    let rows = [
        ("messages of a session in a minute, on average", assumed.messages_a_minute, "--messages-a-minute"),
        ("sessions that listen to a chat: deliveries of a message", assumed.chat_size, "--chat-size"),
        ("the busiest minute, by the average", assumed.peak_factor, "--peak-factor"),
        ("cores of a machine", assumed.machine_cores, "--machine-cores"),
        ("memory of a machine, GiB", assumed.machine_memory_gib, "--machine-memory-gib"),
        ("network of a machine, Gbit/s", assumed.machine_network_gbit, "--machine-network-gbit"),
        ("share of these that the busiest minute may take", assumed.busy_share, "--busy-share"),
        ("kernel memory of a socket, bytes", assumed.socket_kernel_bytes, "--socket-kernel-bytes"),
        ("a delivery on the wire, bytes", assumed.delivery_wire_bytes, "--delivery-wire-bytes"),
        ("an event in the store or a record in the log, bytes", assumed.stored_bytes, "--stored-bytes"),
        ("copies of each", assumed.copies, "--copies"),
        ("copies of each in the measured runs", assumed.measured_copies, "--measured-copies"),
        ("sessions of an edge at most", assumed.edge_sessions_max, "--edge-sessions-max"),
        ("seconds in which a dead edge's sessions are back", assumed.back_within_s, "--back-within-s"),
    ];
    for (what, figure, flag) in rows {
        writeln!(page, "| {what} | {figure} | `{flag}` |")?;
    }
    page.push('\n');
    Ok(())
}

/// A part of a plan.
type Of = fn(&Plan) -> &Planned;

fn plans(page: &mut String, measured: &Measured, assumed: &Assumed) -> std::fmt::Result {
    let plans = SOCKETS.map(|sockets| Plan::of(sockets, measured, assumed));
    page.push_str("## Plans\n\n| | ");
    page.push_str(&plans.each_ref().map(|plan| format!("{} sockets", whole(plan.sessions))).join(" | "));
    page.push_str(" |\n|---|---|---|---|\n");
    let mut row = |what: &str, of: &dyn Fn(&Plan) -> String| {
        writeln!(page, "| {what} | {} |", plans.each_ref().map(of).join(" | "))
    };
    row("messages a second, busiest minute", &|plan| whole(plan.messages_s))?;
    row("deliveries a second, busiest minute", &|plan| whole(plan.deliveries_s))?;
    row("edges, one of them spare", &|plan| machines(&plan.edges))?;
    row("routers", &|plan| machines(&plan.routers))?;
    row("shards", &|plan| plan.shards.map_or_else(|| "not measured".into(), whole))?;
    row("brokers", &|plan| machines(&plan.brokers))?;
    row("nodes of the event store", &|plan| machines(&plan.stores))?;
    row("network to clients, Gbit/s", &|plan| format!("{:.1}", plan.network_gbit))?;
    row("written to the event store a day, all copies, GiB", &|plan| whole(plan.stored_gib_day))?;
    page.push_str(
        "\nDisks are not planned: how long events are kept decides, and nothing measured says how fast a disk must be.\n\n\
         ## What saturates first\n\nMachines that each resource alone would ask for; the largest decides.\n\n\
         | part | ",
    );
    page.push_str(&plans.each_ref().map(|plan| format!("{} sockets", whole(plan.sessions))).join(" | "));
    page.push_str(" |\n|---|---|---|---|\n");
    let parts: [(&str, Of); 4] = [
        ("edges", |plan| &plan.edges),
        ("routers", |plan| &plan.routers),
        ("brokers", |plan| &plan.brokers),
        ("event store", |plan| &plan.stores),
    ];
    for (name, part) in parts {
        writeln!(page, "| {name} | {} |", plans.each_ref().map(|plan| saturates(part(plan))).join(" | "))?;
    }
    page.push_str("\n## What one edge's death costs the rest\n\n");
    for plan in &plans {
        let sockets = whole(plan.sessions);
        let Some(death) = &plan.death else {
            writeln!(page, "- {sockets} sockets: not known, because the number of edges is not.")?;
            continue;
        };
        let cores = match death.cores {
            Some(cores) => format!("{cores:.2} of its {} cores for {} s", assumed.machine_cores, assumed.back_within_s),
            None => "cores that nobody measured (see above)".into(),
        };
        writeln!(
            page,
            "- {sockets} sockets: {} sessions come back within {} s, {:.0} a second to each other edge, which takes {cores}; \
             afterwards each holds {:.1} % more.",
            whole(death.sessions),
            assumed.back_within_s,
            death.connects_s,
            (death.growth - 1.0) * 100.0
        )?;
    }
    Ok(())
}

fn machines(planned: &Planned) -> String {
    match planned.machines {
        Some(machines) => whole(machines),
        None => format!("not measured: {}", planned.unknown.join(", ")),
    }
}

fn saturates(planned: &Planned) -> String {
    let decides = planned.first().map(|need| need.of);
    let need = |need: &plan::Need| {
        let words = format!("{} {:.2}", need.of, need.machines);
        if decides == Some(need.of) && planned.unknown.is_empty() { format!("**{words}**") } else { words }
    };
    let unknown = planned.unknown.iter().map(|of| format!("{of} not measured"));
    planned.needs.iter().map(need).chain(unknown).collect::<Vec<_>>().join(", ")
}

/// What stands in one cell of a table, whatever it is.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace(['\n', '\r'], " ").replace('<', "&lt;")
}

/// A number without a fraction, in groups of three.
fn whole(figure: f64) -> String {
    let digits = format!("{figure:.0}");
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::samples::{idle, under_load};
    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        assumed: Assumed,
    }

    fn assumed() -> Assumed {
        Line::try_parse_from(["x"]).unwrap().assumed
    }

    #[test]
    fn every_figure_names_its_report_and_what_is_missing_its_command() {
        let reports = [("idle.json".to_owned(), idle(10_000)), ("load.json".to_owned(), under_load(5_000))];
        let page = page(&reports, &assumed());
        assert!(
            page.contains("| memory of an edge for a session | 2,048 bytes: 524,288 sessions a GiB | idle.json |"),
            "{page}"
        );
        assert!(page.contains("| routers, for a message | ") && page.contains(" | load.json | "), "{page}");
        assert!(page.contains("- brokers, for a message: `panda-loadtest steady "), "{page}");
        assert!(
            page.contains("| brokers | not measured: cores | not measured: cores | not measured: cores |"),
            "{page}"
        );
        assert!(page.contains("| | 1,000,000 sockets | 10,000,000 sockets | 100,000,000 sockets |"), "{page}");
        assert!(page.contains("sessions come back within 15 s"), "{page}");
        assert!(page.contains("| kernel memory of a socket, bytes | 4096 | `--socket-kernel-bytes` |"), "{page}");
    }

    #[test]
    fn of_no_report_that_shows_anything_nothing_is_planned() {
        let page = page(&[("a|<b>.json".into(), Report::default())], &assumed());
        assert_eq!(page.matches("json`\n").count(), ASKED.len(), "every figure is asked for: {page}");
        assert!(page.contains("| edges, one of them spare | not measured: cores, memory |"), "{page}");
        assert!(page.contains("not known, because the number of edges is not"), "{page}");
        assert!(page.contains("a\\|&lt;b>.json"), "{page}");
    }

    #[test]
    fn a_run_that_the_harness_limited_or_that_failed_is_marked() {
        let mut report = idle(5_000);
        report.told.verdict.harness_limits.push("its CPU".into());
        report.held = Some(false);
        let page = page(&[("idle.json".into(), report)], &assumed());
        assert!(page.contains("**idle.json: its CPU**") && page.contains("**idle.json: the checker found"), "{page}");
    }
}
