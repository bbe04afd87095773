//! The logins that are offered, over HTTP.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, ToSocketAddrs as _};
use std::sync::Arc;
use std::time::Duration;

use panda_protocol::ErrorCode;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use reqwest::{Client, StatusCode};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::cli::Common;
use crate::report::{LoginsReport, line};
use crate::run::RunError;
use crate::schedule;

/// Logins a second that an address may ask for: the server takes 600 a minute.
const A_SECOND_OF_ADDRESS: u32 = 8;
/// Users whose logins they are; the server takes 1,200 a minute of one, and 60 from one address.
const USERS: u32 = 64;
/// What a browser waits for; the server answers within 30 s.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(40);
/// How long a connection may take to open.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(10);
/// Wait before a registration is repeated, unless its answer names a longer one.
const REPEAT_AFTER: Duration = Duration::from_millis(250);
const PASSWORD: &str = "correct horse battery";

#[derive(Serialize)]
struct Credentials<'a> {
    username: &'a str,
    password: &'a str,
}

/// Of a refusal.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Problem {
    code: u16,
    label: String,
    retry_after_ms: Option<u64>,
}

enum Answer {
    LetIn,
    /// By label; whether it said when to come again, where it is one for now.
    Refused {
        label: String,
        lacks_retry_after: bool,
    },
}

/// Users with passwords, and the addresses from which they ask.
pub(super) struct Flood {
    base: String,
    clients: Vec<Client>,
    names: Vec<String>,
}

impl Flood {
    /// Registers the users.
    pub(super) async fn prepare(base: &str, rate: u32, seed: u64, common: &Common) -> Result<Arc<Self>, RunError> {
        let base = base.trim_end_matches('/');
        let tls = tls(common)?;
        let clients = addresses(base, rate).into_iter().map(|address| client(address, tls.clone()));
        let names = (0..USERS).map(|number| format!("lt{seed:x}l{number}")).collect();
        let flood = Arc::new(Self { base: base.to_owned(), clients: clients.collect::<Result<_, _>>()?, names });
        let mut registering = JoinSet::new();
        for place in 0..flood.names.len() {
            let (flood, patience) = (Arc::clone(&flood), common.patience);
            registering.spawn(async move { flood.register(place, patience).await });
        }
        while let Some(registered) = registering.join_next().await {
            registered.map_err(|_| super::super::task_ended())??;
        }
        line(format_args!("{USERS} users with passwords are registered"));
        Ok(flood)
    }

    /// How many addresses they come from.
    pub(super) fn addresses(&self) -> usize {
        self.clients.len()
    }

    async fn register(&self, place: usize, patience: Duration) -> Result<(), RunError> {
        let until = Instant::now() + patience;
        loop {
            let why = match self.ask("/register", place, place).await {
                // Of an earlier run with this seed, or of a try that was not answered: the password is the same.
                Ok((StatusCode::CREATED | StatusCode::CONFLICT, _)) => return Ok(()),
                Ok((status, problem)) if Instant::now() >= until => {
                    format!("refused with {status} {}", problem.label)
                }
                Err(why) if Instant::now() >= until => why,
                Ok((_, problem)) => {
                    tokio::time::sleep(REPEAT_AFTER.max(Duration::from_millis(problem.retry_after_ms.unwrap_or(0))))
                        .await;
                    continue;
                }
                Err(_) => {
                    tokio::time::sleep(REPEAT_AFTER).await;
                    continue;
                }
            };
            return Err(RunError::Unreachable(format!("{}/register: {why}", self.base)));
        }
    }

    /// Asks when each is due, and waits for all answers.
    pub(super) async fn offer(
        self: &Arc<Self>,
        schedule: schedule::Steady,
        seed: u64,
        report: &mut LoginsReport,
    ) -> Result<(), RunError> {
        let mut random = StdRng::seed_from_u64(seed);
        let (mut let_in_us, mut refused_us) = (BTreeMap::new(), BTreeMap::new());
        let mut asked = JoinSet::new();
        let began = Instant::now();
        for number in 0..schedule.count() {
            tokio::time::sleep_until(began + schedule.due(number)).await;
            let (user, client) = (random.random_range(0..self.names.len()), random.random_range(0..self.clients.len()));
            let flood = Arc::clone(self);
            asked.spawn(async move {
                let began = Instant::now();
                (flood.log_in(user, client).await, began.elapsed())
            });
            report.offered += 1;
            while let Some(answered) = asked.try_join_next() {
                let answered = answered.map_err(|_| super::super::task_ended())?;
                take(answered, report, &mut let_in_us, &mut refused_us);
            }
        }
        while let Some(answered) = asked.join_next().await {
            let answered = answered.map_err(|_| super::super::task_ended())?;
            take(answered, report, &mut let_in_us, &mut refused_us);
        }
        report.took(&let_in_us, &refused_us);
        Ok(())
    }

    async fn log_in(&self, user: usize, client: usize) -> Result<Answer, String> {
        let (status, problem) = self.ask("/login", user, client).await?;
        if status.is_success() {
            return Ok(Answer::LetIn);
        }
        let for_now = [StatusCode::SERVICE_UNAVAILABLE, StatusCode::TOO_MANY_REQUESTS].contains(&status);
        let label = if problem.label.is_empty() { format!("status {status}") } else { problem.label };
        let label = ErrorCode::from_u16(problem.code).map_or(label, |known| known.to_string());
        Ok(Answer::Refused { label, lacks_retry_after: for_now && problem.retry_after_ms.is_none() })
    }

    async fn ask(&self, path: &str, user: usize, client: usize) -> Result<(StatusCode, Problem), String> {
        let body = serde_json::to_vec(&Credentials { username: &self.names[user], password: PASSWORD });
        let body = body.map_err(|error| error.to_string())?;
        let client = &self.clients[client % self.clients.len()];
        let answer = client.post(format!("{}{path}", self.base)).body(body).send().await.map_err(words)?;
        let status = answer.status();
        let body = answer.bytes().await.map_err(words)?;
        if status.is_success() {
            return Ok((status, Problem::default()));
        }
        Ok((status, serde_json::from_slice(&body).unwrap_or_default()))
    }
}

fn take(
    (answer, took): (Result<Answer, String>, Duration),
    report: &mut LoginsReport,
    let_in_us: &mut BTreeMap<u64, u64>,
    refused_us: &mut BTreeMap<u64, u64>,
) {
    let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    match answer {
        Ok(Answer::LetIn) => {
            report.let_in += 1;
            *let_in_us.entry(us).or_default() += 1;
        }
        Ok(Answer::Refused { label, lacks_retry_after }) => {
            *report.refused.entry(label).or_default() += 1;
            report.without_retry_after += u64::from(lacks_retry_after);
            *refused_us.entry(us).or_default() += 1;
        }
        Err(_) => report.unanswered += 1,
    }
}

/// Where logins of this rate come from: over loopback as many addresses as it takes, and otherwise whatever the system takes.
fn addresses(base: &str, rate: u32) -> Vec<Option<IpAddr>> {
    if !is_loopback(base) {
        return vec![None];
    }
    let count = rate.div_ceil(A_SECOND_OF_ADDRESS).clamp(1, 250);
    // Those of the sessions are 127.0.0.1.
    (1..=count)
        .map(|last| Some(IpAddr::V4(Ipv4Addr::from_bits(Ipv4Addr::new(127, 1, 0, 0).to_bits() + last))))
        .collect()
}

fn is_loopback(base: &str) -> bool {
    let host = base.split_once("://").map_or(base, |(_, rest)| rest).split('/').next().unwrap_or_default();
    let with_port = if host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok()) {
        host.to_owned()
    } else {
        format!("{host}:80")
    };
    let all: Vec<_> = with_port.to_socket_addrs().map(Iterator::collect).unwrap_or_default();
    // Addresses of 127.0.0.0/8 reach no other ones.
    !all.is_empty() && all.iter().all(|address| matches!(address.ip(), IpAddr::V4(ip) if ip.is_loopback()))
}

fn tls(common: &Common) -> Result<rustls::ClientConfig, RunError> {
    let mut roots = rustls::RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    if let Some(file) = &common.certificate {
        let refused = |why: String| RunError::Usage(format!("--certificate {}: {why}", file.display()));
        let certificate = CertificateDer::from_pem_file(file).map_err(|error| refused(error.to_string()))?;
        roots = rustls::RootCertStore::empty();
        roots.add(certificate).map_err(|error| refused(error.to_string()))?;
    }
    let builder = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| RunError::Usage(format!("TLS cannot be set up: {error}")))?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

fn client(address: Option<IpAddr>, tls: rustls::ClientConfig) -> Result<Client, RunError> {
    Client::builder()
        .tls_backend_preconfigured(tls)
        .local_address(address)
        .connect_timeout(CONNECT_TIME_MAX)
        .timeout(ANSWER_TIME_MAX)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .http1_only()
        .build()
        .map_err(|error| RunError::Usage(format!("HTTP cannot be set up: {}", words(error))))
}

/// An error with what is behind it.
#[expect(clippy::needless_pass_by_value, reason = "it is what is mapped")]
fn words(error: reqwest::Error) -> String {
    let mut words = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(behind) = source {
        words = format!("{words}: {behind}");
        source = behind.source();
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn over_loopback_no_address_asks_more_often_than_it_may() {
        assert_eq!(addresses("http://127.0.0.1:8080", 200).len(), 25);
        assert_eq!(addresses("http://127.0.0.1", 1).len(), 1);
        assert_eq!(addresses("http://192.0.2.1:8080", 200), [None]);
        assert_eq!(addresses("http://[::1]:8080", 200), [None], "there is one such address");
    }

    #[test]
    fn a_refusal_for_now_without_a_time_is_counted() {
        let (mut report, mut let_in, mut refused) = (LoginsReport::default(), BTreeMap::new(), BTreeMap::new());
        let refusal = |lacks_retry_after| Ok(Answer::Refused { label: "overloaded".into(), lacks_retry_after });
        let answers = [Ok(Answer::LetIn), refusal(true), refusal(false), Err("reset".to_owned())];
        for answer in answers {
            take((answer, Duration::from_millis(2)), &mut report, &mut let_in, &mut refused);
        }
        assert_eq!((report.let_in, report.refused["overloaded"], report.unanswered), (1, 2, 1));
        assert_eq!((report.without_retry_after, let_in[&2_000], refused[&2_000]), (1, 1, 2));
    }
}
