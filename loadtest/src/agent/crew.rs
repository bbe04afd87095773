//! The controller's side: the agents of a run.

use std::io::{self, BufRead as _, BufReader};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tokio::sync::mpsc;

use super::listen::NO_SECRET;
use super::proof::{Side, nonce};
use super::{Channel, Greeting, Opening, Order, PROTOCOL, Secret, Word};
use crate::engine::clock::{SECOND, now};

/// Sessions of an agent that the controller makes by itself, where the system's limit of open files allows them.
pub const SESSIONS_MAX: usize = 16_000;
/// The variable with the secret of an agent.
pub const SECRET_VARIABLE: &str = "PANDA_LOADTEST_SECRET";
/// How long an agent may take to answer the opening.
const OPENING_MAX: Duration = Duration::from_secs(20);
/// What agents said and nobody took yet; an agent whose words are not taken waits.
const WORDS_MAX: usize = 1_024;

/// Why there are no agents.
#[derive(Debug)]
pub enum CrewError {
    /// This one cannot be started.
    Start(io::Error),
    /// This one cannot be reached.
    Reach(String, io::Error),
    /// Whoever answers there would be given tokens.
    NoSecret(String),
    /// This one does not take the controller, or is not taken by it.
    Refused(String, String),
}

impl std::fmt::Display for CrewError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Start(error) => write!(f, "an agent cannot be started: {error}"),
            Self::Reach(name, error) => {
                write!(
                    f,
                    "agent {name} cannot be reached: {error}; `panda-loadtest agent --listen {name}` starts one there"
                )
            }
            Self::NoSecret(name) => write!(
                f,
                "agent {name} is on another machine: name the file with the secret that it has (--secret-file, or the \
                 variable {SECRET_VARIABLE}); without one, tokens of users would go to whoever answers there"
            ),
            Self::Refused(name, why) => write!(f, "agent {name}: {why}"),
        }
    }
}

impl std::error::Error for CrewError {}

/// What the controller hears of an agent.
#[derive(Debug)]
pub enum Heard {
    /// It said something.
    Said(Word),
    /// It is gone.
    Gone(String),
}

/// An agent.
#[derive(Debug)]
pub struct Agent {
    name: String,
    channel: Channel,
    child: Option<Child>,
}

impl Agent {
    /// Its address, or which one of those it is that the controller started.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Tells it what to do.
    ///
    /// # Errors
    /// It is gone; so it is told by [`Crew::next`], too.
    pub fn tell(&mut self, order: &Order) -> io::Result<()> {
        self.channel.send(order)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.channel.end();
        if let Some(mut child) = self.child.take() {
            // One that ended by itself needs no end.
            drop(child.kill());
            drop(child.wait());
        }
    }
}

/// The agents of a run. They end, or wait for the next controller, when it is dropped.
#[derive(Debug)]
pub struct Crew {
    /// In the order of their numbers.
    pub agents: Vec<Agent>,
    heard: mpsc::Receiver<(usize, Heard)>,
}

impl Crew {
    /// Starts so many on this machine.
    ///
    /// # Errors
    /// [`CrewError`].
    pub fn start(count: usize) -> Result<Self, CrewError> {
        let agents = (1..=count).map(start).collect::<Result<_, _>>()?;
        Self::of(agents)
    }

    /// Takes those that listen at these addresses.
    ///
    /// # Errors
    /// [`CrewError`].
    pub fn at(addresses: &[String], secret: Option<&Secret>) -> Result<Self, CrewError> {
        let no_secret = Secret::new(NO_SECRET).unwrap_or_else(|_| Secret::random());
        let take = |name: &String| {
            let failed = |error| CrewError::Reach(name.clone(), error);
            let address = name.to_socket_addrs().map_err(failed)?.next();
            let nowhere = || failed(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
            let address = address.ok_or_else(nowhere)?;
            match secret {
                None if !address.ip().is_loopback() => Err(CrewError::NoSecret(name.clone())),
                secret => open(name, address, secret.unwrap_or(&no_secret), None),
            }
        };
        let agents = addresses.iter().map(take).collect::<Result<_, _>>()?;
        Self::of(agents)
    }

    fn of(agents: Vec<Agent>) -> Result<Self, CrewError> {
        let (say, heard) = mpsc::channel(WORDS_MAX);
        for (number, agent) in agents.iter().enumerate() {
            let reading = agent.channel.another().map_err(|error| CrewError::Reach(agent.name.clone(), error))?;
            let say = say.clone();
            std::thread::spawn(move || read(number, reading, &say));
        }
        Ok(Self { agents, heard })
    }

    /// What the next agent says; `None` once all are gone. Cancel safe.
    pub async fn next(&mut self) -> Option<(usize, Heard)> {
        self.heard.recv().await
    }
}

/// Hands on what an agent says until it is gone.
fn read(number: usize, mut channel: Channel, say: &mpsc::Sender<(usize, Heard)>) {
    loop {
        let heard = match channel.receive() {
            Ok(Some(word)) => Heard::Said(word),
            Ok(None) => Heard::Gone("its process ended, or it let go of the controller".into()),
            Err(error) => Heard::Gone(error.to_string()),
        };
        let is_over = matches!(heard, Heard::Gone(_));
        if say.blocking_send((number, heard)).is_err() || is_over {
            return;
        }
    }
}

fn start(number: usize) -> Result<Agent, CrewError> {
    let secret = Secret::random();
    let program = std::env::current_exe().map_err(CrewError::Start)?;
    let mut command = Command::new(program);
    command.args(["agent", "--once", "--listen", "127.0.0.1:0"]).env(SECRET_VARIABLE, secret.text());
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn().map_err(CrewError::Start)?;
    let mut said = String::new();
    let out = child.stdout.take().map(BufReader::new);
    let read = out.map_or(Ok(0), |mut out| out.read_line(&mut said));
    let address = read.ok().and_then(|_| said.trim().rsplit_once(' ')?.1.parse().ok());
    let Some(address) = address else {
        drop(child.kill());
        drop(child.wait());
        return Err(CrewError::Start(io::Error::other(format!("it said '{}' and not where it listens", said.trim()))));
    };
    let name = format!("{number} (process {})", child.id());
    open(&name, address, &secret, Some(child))
}

fn open(name: &str, address: SocketAddr, secret: &Secret, child: Option<Child>) -> Result<Agent, CrewError> {
    let failed = |error| CrewError::Reach(name.to_owned(), error);
    let refused = |why: String| CrewError::Refused(name.to_owned(), why);
    let stream = TcpStream::connect_timeout(&address, OPENING_MAX).map_err(failed)?;
    let mut agent = Agent { name: name.to_owned(), channel: Channel::new(stream).map_err(failed)?, child };
    let channel = &mut agent.channel;
    let until = now() + OPENING_MAX.as_secs() * SECOND;
    let greeting = channel.receive_opening::<Greeting>(until).map_err(failed)?;
    let greeting = greeting.ok_or_else(|| refused("it ended the connection; another controller may use it".into()))?;
    let (version, nonce) = (env!("CARGO_PKG_VERSION").to_owned(), nonce());
    let proof = secret.prove(Side::Controller, &greeting.nonce);
    let opening = Opening { protocol: PROTOCOL, version, proof, nonce: nonce.clone() };
    channel.send(&opening).map_err(failed)?;
    match channel.receive_opening::<Word>(until).map_err(failed)? {
        Some(Word::Welcome { proof }) if secret.is_proven(Side::Agent, &nonce, &proof) => {}
        Some(Word::Welcome { .. }) => {
            return Err(refused("it does not have the secret; tokens are not sent to it".into()));
        }
        Some(Word::Refused(why)) => return Err(refused(why)),
        other => return Err(refused(format!("it answered {other:?}"))),
    }
    channel.set_patience(None).map_err(failed)?;
    Ok(agent)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_program_that_is_no_agent_is_refused_by_its_name() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let name = listener.local_addr().unwrap().to_string();
        let serving = std::thread::spawn(move || drop(listener.accept().unwrap()));
        let error = Crew::at(std::slice::from_ref(&name), None).unwrap_err().to_string();
        assert!(error.contains(&name), "{error}");
        serving.join().unwrap();
    }

    #[test]
    fn without_a_secret_no_agent_of_another_machine_is_asked() {
        // Of a net that is kept for documents: nothing is there to answer.
        let name = "192.0.2.1:7000".to_owned();
        let error = Crew::at(std::slice::from_ref(&name), None).unwrap_err();
        assert!(matches!(&error, CrewError::NoSecret(of) if *of == name), "{error}");
        assert!(error.to_string().contains("--secret-file"), "{error}");
    }

    #[test]
    fn nobody_listens_and_how_to_start_one_is_told() {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let error = Crew::at(std::slice::from_ref(&free), None).unwrap_err().to_string();
        assert!(error.contains(&format!("panda-loadtest agent --listen {free}")), "{error}");
    }
}
