//! How many of each part so many sockets take, from what was measured and what is assumed. Pure.

use clap::Args;

use super::measured::Measured;

/// What is assumed of users and machines; no report can show it.
#[derive(Clone, Debug, PartialEq, Args)]
pub struct Assumed {
    /// Messages that a session sends in a minute, on average.
    #[arg(long, value_name = "N", default_value = "0.5", value_parser = positive)]
    pub messages_a_minute: f64,
    /// Sessions that listen to a chat in which something is said: so many deliveries has a message.
    #[arg(long, value_name = "N", default_value = "10", value_parser = positive)]
    pub chat_size: f64,
    /// The busiest minute, by the average.
    #[arg(long, value_name = "N", default_value = "3", value_parser = positive)]
    pub peak_factor: f64,
    /// Cores of a machine.
    #[arg(long, value_name = "N", default_value = "16", value_parser = positive)]
    pub machine_cores: f64,
    /// Memory of a machine, in GiB.
    #[arg(long, value_name = "GIB", default_value = "64", value_parser = positive)]
    pub machine_memory_gib: f64,
    /// Its network, each way, in Gbit/s.
    #[arg(long, value_name = "GBIT", default_value = "10", value_parser = positive)]
    pub machine_network_gbit: f64,
    /// The share of cores, memory and network that the busiest minute may take.
    #[arg(long, value_name = "SHARE", default_value = "0.6", value_parser = share)]
    pub busy_share: f64,
    /// Memory of the kernel for a socket, in bytes: it is in no process's RSS.
    #[arg(long, value_name = "BYTES", default_value = "4096", value_parser = positive)]
    pub socket_kernel_bytes: f64,
    /// Bytes of a delivery on the wire: frame, TLS, TCP and IP.
    #[arg(long, value_name = "BYTES", default_value = "300", value_parser = positive)]
    pub delivery_wire_bytes: f64,
    /// Bytes of an event in the store and of a record in the log, each copy.
    #[arg(long, value_name = "BYTES", default_value = "250", value_parser = positive)]
    pub stored_bytes: f64,
    /// Copies of each event and record.
    #[arg(long, value_name = "N", default_value = "3", value_parser = positive)]
    pub copies: f64,
    /// Copies in the measured runs: a broker's and a node's work grows with them.
    #[arg(long, value_name = "N", default_value = "1", value_parser = positive)]
    pub measured_copies: f64,
    /// Sessions of an edge at most, whatever it could hold: what its death costs.
    #[arg(long, value_name = "N", default_value = "500000", value_parser = positive)]
    pub edge_sessions_max: f64,
    /// Seconds in which the sessions of a dead edge are to be back elsewhere.
    #[arg(long, value_name = "SECONDS", default_value = "15", value_parser = positive)]
    pub back_within_s: f64,
}

/// More copies or cores than any deployment has are a slip of the hand.
const FIGURE_MAX: f64 = 1e12;

fn positive(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(figure) if figure > 0.0 && figure <= FIGURE_MAX => Ok(figure),
        _ => Err(format!("write a number above 0 and up to {FIGURE_MAX:e}")),
    }
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(share) if share > 0.0 && share <= 1.0 => Ok(share),
        _ => Err("write a share above 0 and up to 1, such as 0.6".into()),
    }
}

/// What a part needs of one resource, in machines of which it may use a share.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Need {
    pub(super) of: &'static str,
    pub(super) machines: f64,
}

/// A part of a plan.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Planned {
    /// By every resource that is known.
    pub(super) needs: Vec<Need>,
    /// What is not known and would have a say, by the name of the figure.
    pub(super) unknown: Vec<&'static str>,
    /// Machines; `None` if what is unknown decides.
    pub(super) machines: Option<f64>,
}

impl Planned {
    fn of(needs: Vec<(&'static str, Option<f64>)>, least: f64) -> Self {
        let (mut known, mut unknown) = (Vec::new(), Vec::new());
        for (of, machines) in needs {
            match machines {
                Some(machines) => known.push(Need { of, machines }),
                None => unknown.push(of),
            }
        }
        let most = known.iter().map(|need| need.machines).fold(least, f64::max);
        let machines = unknown.is_empty().then(|| most.ceil());
        Self { needs: known, unknown, machines }
    }

    /// The resource that decides how many there are.
    pub(super) fn first(&self) -> Option<&Need> {
        self.needs.iter().max_by(|one, other| one.machines.total_cmp(&other.machines))
    }
}

/// A plan for so many sockets.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Plan {
    pub(super) sessions: f64,
    /// In the busiest minute.
    pub(super) messages_s: f64,
    /// In the busiest minute.
    pub(super) deliveries_s: f64,
    pub(super) edges: Planned,
    pub(super) routers: Planned,
    pub(super) brokers: Planned,
    pub(super) stores: Planned,
    /// Partitions of the command log; a power of two.
    pub(super) shards: Option<f64>,
    /// All edges together, to clients, in Gbit/s.
    pub(super) network_gbit: f64,
    /// All copies, in GiB a day.
    pub(super) stored_gib_day: f64,
    pub(super) death: Option<Death>,
}

/// What one edge's death costs the rest.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Death {
    pub(super) sessions: f64,
    /// Connections a second on each other edge while they come back.
    pub(super) connects_s: f64,
    /// Cores of each other edge that this takes; `None` if nobody measured what a connection costs.
    pub(super) cores: Option<f64>,
    /// Sessions of each other edge afterwards, by those before.
    pub(super) growth: f64,
}

/// Shards for each core of routers: a shard runs on one core, and they are not equally busy.
const SHARDS_A_CORE: f64 = 4.0;
/// Fewer of a part that keeps copies, or whose loss must be survived, are none.
const LEAST: f64 = 3.0;
/// More shards than this no deployment opens.
const SHARDS_MAX: f64 = 1_048_576.0;
const GIB: f64 = 1_073_741_824.0;
const DAY_S: f64 = 86_400.0;

impl Plan {
    pub(super) fn of(sessions: f64, measured: &Measured, assumed: &Assumed) -> Self {
        let average_s = sessions * assumed.messages_a_minute / 60.0;
        let messages_s = average_s * assumed.peak_factor;
        let deliveries_s = messages_s * assumed.chat_size;
        let cores = |cpu: f64| cpu / (assumed.machine_cores * assumed.busy_share);
        let memory = |bytes: f64| bytes / (assumed.machine_memory_gib * GIB * assumed.busy_share);
        let network = |bytes_s: f64| bytes_s * 8e-9 / (assumed.machine_network_gbit * assumed.busy_share);
        let value = |figure: &Option<super::measured::Figure>| figure.as_ref().map(|figure| figure.value);
        let by_message = |figure: &Option<super::measured::Figure>| value(figure).map(|cpu| cores(cpu * messages_s));

        // What idle sessions take is in the cost of a delivery too, as far as it was measured among them: both together
        // are more than either needs.
        let edge_cpu = match (value(&measured.edge_delivery_cpu_s), value(&measured.edge_idle_cores)) {
            (Some(delivery), Some(idle)) => Some(cores(delivery * deliveries_s + idle * sessions)),
            _ => None,
        };
        let edge_memory =
            value(&measured.edge_session_bytes).map(|bytes| memory(sessions * (bytes + assumed.socket_kernel_bytes)));
        let to_clients = deliveries_s * assumed.delivery_wire_bytes;
        let edges = Planned::of(
            vec![
                ("cores", edge_cpu),
                ("memory", edge_memory),
                ("network", Some(network(to_clients))),
                ("sessions an edge", Some(sessions / assumed.edge_sessions_max)),
            ],
            LEAST - 1.0,
        );
        // One more than is needed: the rest takes over what one held.
        let edges = Planned { machines: edges.machines.map(|machines| machines + 1.0), ..edges };
        let router_memory = value(&measured.router_session_bytes).map(|bytes| memory(bytes * sessions));
        // A message may go to every edge that has a listener.
        let to_edges = messages_s * assumed.stored_bytes * edges.machines.unwrap_or(LEAST).min(assumed.chat_size);
        let routers = Planned::of(
            vec![
                ("cores", by_message(&measured.router_message_cpu_s)),
                ("memory", router_memory),
                ("network", Some(network(to_edges))),
            ],
            LEAST,
        );
        let copied = messages_s * assumed.stored_bytes * assumed.copies;
        let of_copies = |figure| by_message(figure).map(|machines| machines * assumed.copies / assumed.measured_copies);
        let stores =
            |figure| Planned::of(vec![("cores", of_copies(figure)), ("network", Some(network(copied)))], LEAST);
        let shards = value(&measured.router_message_cpu_s).map(|cpu| {
            (cpu * messages_s / assumed.busy_share * SHARDS_A_CORE).max(16.0).log2().ceil().exp2().min(SHARDS_MAX)
        });
        let death = edges.machines.map(|edges| {
            let (held, others) = (sessions / edges, edges - 1.0);
            let connects_s = held / others / assumed.back_within_s;
            let cores = value(&measured.edge_connect_cpu_s).map(|cpu| cpu * connects_s);
            Death { sessions: held, connects_s, cores, growth: edges / others }
        });
        Self {
            sessions,
            messages_s,
            deliveries_s,
            routers,
            brokers: stores(&measured.broker_message_cpu_s),
            stores: stores(&measured.store_message_cpu_s),
            shards,
            network_gbit: to_clients * 8e-9,
            stored_gib_day: average_s * DAY_S * assumed.stored_bytes * assumed.copies / GIB,
            death,
            edges,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::super::measured::Figure;
    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        assumed: Assumed,
    }

    fn assumed(line: &str) -> Result<Assumed, clap::Error> {
        Line::try_parse_from(std::iter::once("x").chain(line.split_whitespace())).map(|line| line.assumed)
    }

    fn measured() -> Measured {
        let figure = |value| Some(Figure { value, report: "r.json".into(), how: String::new() });
        Measured {
            edge_session_bytes: figure(2_048.0),
            router_session_bytes: figure(500.0),
            edge_idle_cores: figure(2e-6),
            edge_connect_cpu_s: figure(2e-4),
            edge_delivery_cpu_s: figure(1e-5),
            router_message_cpu_s: figure(1e-4),
            broker_message_cpu_s: figure(5e-5),
            store_message_cpu_s: figure(2e-4),
        }
    }

    #[test]
    fn ten_times_the_sockets_take_ten_times_the_machines() {
        let assumed = assumed("").unwrap();
        let plans = [1e6, 1e7, 1e8].map(|sessions| Plan::of(sessions, &measured(), &assumed));
        // 1 million sessions: 0.5 a minute, three times at the peak.
        assert_eq!((plans[0].messages_s, plans[0].deliveries_s), (25_000.0, 250_000.0));
        for pair in plans.windows(2) {
            let of = |plan: &Plan| plan.edges.first().unwrap().machines;
            assert!((of(&pair[1]) / of(&pair[0]) - 10.0).abs() < 1e-6);
        }
        // Of 100 million: 200 by what one may hold, and a spare one; 47 would have the cores, 15 the memory.
        let edges = &plans[2].edges;
        assert_eq!((edges.first().unwrap().of, edges.machines), ("sessions an edge", Some(201.0)));
        let needs: Vec<String> = edges.needs.iter().map(|need| format!("{:.1}", need.machines)).collect();
        assert_eq!(needs, ["46.9", "14.9", "10.0", "200.0"]);
        assert_eq!(plans[2].routers.machines, Some(27.0));
        // 2.5 million messages of 50 µs on each of 3 brokers' copies, where one was measured.
        assert_eq!((plans[2].brokers.machines, plans[0].brokers.machines), (Some(40.0), Some(LEAST)));
        let measured_with_three = Assumed { measured_copies: 3.0, ..assumed };
        assert_eq!(Plan::of(1e8, &measured(), &measured_with_three).brokers.machines, Some(14.0));
    }

    #[test]
    fn a_dead_edge_falls_to_the_others() {
        let plan = Plan::of(1e6, &measured(), &assumed("--edge-sessions-max 100000").unwrap());
        let edges = plan.edges.machines.unwrap();
        assert_eq!(edges, 11.0);
        let death = plan.death.unwrap();
        assert!((death.sessions - 1e6 / 11.0).abs() < 1e-6 && (death.growth - 1.1).abs() < 1e-9, "{death:?}");
        assert!((death.connects_s - death.sessions / 10.0 / 15.0).abs() < 1e-6);
        assert!((death.cores.unwrap() - death.connects_s * 2e-4).abs() < 1e-9);
    }

    #[test]
    fn what_was_not_measured_leaves_its_part_open_and_is_named() {
        let plan = Plan::of(1e6, &Measured { edge_session_bytes: None, ..measured() }, &assumed("").unwrap());
        assert_eq!((plan.edges.machines, plan.edges.unknown.as_slice(), &plan.death), (None, &["memory"][..], &None));
        assert!(plan.routers.machines.is_some(), "the others are planned");
        let nothing = Plan::of(1e6, &Measured::default(), &assumed("").unwrap());
        assert_eq!((nothing.routers.machines, nothing.shards), (None, None));
        assert_eq!(nothing.edges.unknown, ["cores", "memory"]);
    }

    #[test]
    fn an_assumption_that_means_nothing_is_refused() {
        for wrong in ["--chat-size 0", "--busy-share 1.5", "--peak-factor NaN", "--copies inf", "--machine-cores x"] {
            assert!(assumed(wrong).is_err(), "{wrong}");
        }
    }
}
