//! A mail server that keeps what it is given: SMTP (RFC 5321) as far as mail needs it, over loopback, plain, by STARTTLS or
//! encrypted from the first byte on.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use panda_api::{MailConfig, MailWay, SmtpConfig, SmtpTls};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;

/// What links begin with.
pub(crate) const LINKS_BASE: &str = "https://chat.example";

/// A mail that was taken.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) from: String,
    pub(crate) to: Vec<String>,
    /// Head and body as they came, without the dots that SMTP adds.
    pub(crate) data: String,
    /// What came with AUTH PLAIN.
    pub(crate) auth: Option<String>,
    pub(crate) encrypted: bool,
}

impl Taken {
    /// What stands behind the `#` of the link in it.
    pub(crate) fn token(&self) -> String {
        let (_, rest) = self.data.split_once(&format!("{LINKS_BASE}/app/")).unwrap_or_else(|| panic!("{self:?}"));
        rest.split_whitespace().next().unwrap().split_once('#').unwrap().1.to_owned()
    }
}

pub(crate) struct SmtpSink {
    pub(crate) address: SocketAddr,
    tls: SmtpTls,
    authority: String,
    taken: mpsc::Receiver<Taken>,
    /// So many recipients are answered with this line before one is taken.
    refuse: Arc<(AtomicU32, Mutex<&'static str>)>,
    pub(crate) connections: Arc<AtomicU32>,
}

impl SmtpSink {
    pub(crate) async fn start(tls: SmtpTls) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let acceptor = acceptor(&made);
        let (take, taken) = mpsc::channel(256);
        let refuse = Arc::new((AtomicU32::new(0), Mutex::new("")));
        let connections = Arc::new(AtomicU32::new(0));
        let (refusing, counted) = (Arc::clone(&refuse), Arc::clone(&connections));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::SeqCst);
                let dialogue = Dialogue { take: take.clone(), refuse: Arc::clone(&refusing), auth: None };
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    match tls {
                        SmtpTls::Implicit => {
                            if let Ok(stream) = acceptor.accept(stream).await {
                                dialogue.hold(BufReader::new(stream), true, true, false).await;
                            }
                        }
                        SmtpTls::Starttls => {
                            let begun = dialogue.hold(BufReader::new(stream), false, true, true).await;
                            // Nothing may be said between the answer and the handshake.
                            if let Some((dialogue, stream)) = begun
                                && let Ok(stream) = acceptor.accept(stream.into_inner()).await
                            {
                                dialogue.hold(BufReader::new(stream), true, false, false).await;
                            }
                        }
                        SmtpTls::None => drop(dialogue.hold(BufReader::new(stream), false, true, false).await),
                    }
                });
            }
        });
        Self { address, tls, authority: made.cert.pem(), taken, refuse, connections }
    }

    /// How an API sends through it, trying again at once.
    pub(crate) fn config(&self) -> MailConfig {
        let smtp = SmtpConfig {
            host: self.address.ip().to_string(),
            port: self.address.port(),
            tls: self.tls,
            authorities: Some(self.authority.clone().into_bytes()),
            login: (self.tls != SmtpTls::None).then(|| ("panda".to_owned(), "sesame".to_owned())),
            from: "Panda <panda@chat.example>".to_owned(),
        };
        let first_wait = std::time::Duration::from_millis(1);
        MailConfig { way: MailWay::Smtp(smtp), links_base: LINKS_BASE.to_owned(), first_wait }
    }

    /// Answers the next `count` recipients with a line such as `451 later`.
    pub(crate) fn refuse_next(&self, count: u32, line: &'static str) {
        *self.refuse.1.lock().unwrap() = line;
        self.refuse.0.store(count, Ordering::SeqCst);
    }

    /// The next mail.
    pub(crate) async fn next(&mut self) -> Taken {
        let next = tokio::time::timeout(std::time::Duration::from_secs(60), self.taken.recv()).await;
        next.expect("a mail comes").expect("the sink runs")
    }

    /// Whether no mail came that was not read.
    pub(crate) fn is_empty(&mut self) -> bool {
        self.taken.try_recv().is_err()
    }
}

fn acceptor(made: &rcgen::CertifiedKey<rcgen::KeyPair>) -> TlsAcceptor {
    let key = rustls_pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

struct Dialogue {
    take: mpsc::Sender<Taken>,
    refuse: Arc<(AtomicU32, Mutex<&'static str>)>,
    auth: Option<String>,
}

impl Dialogue {
    /// Speaks until the other end goes, or, given back, until it wants to encrypt.
    async fn hold<S: AsyncRead + AsyncWrite + Unpin>(
        mut self,
        mut stream: BufReader<S>,
        encrypted: bool,
        greets: bool,
        offers_tls: bool,
    ) -> Option<(Self, BufReader<S>)> {
        if greets {
            stream.write_all(b"220 sink\r\n").await.ok()?;
        }
        let (mut from, mut to) = (String::new(), Vec::new());
        loop {
            let line = line(&mut stream).await?;
            let word = line.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase();
            let argument = line.split_once(' ').map(|(_, rest)| rest.to_owned()).unwrap_or_default();
            let in_brackets = || line.split(['<', '>']).nth(1).unwrap_or_default().to_owned();
            let answer = match word.as_str() {
                "EHLO" if offers_tls => "250-sink\r\n250 STARTTLS",
                "EHLO" => "250-sink\r\n250-8BITMIME\r\n250 AUTH PLAIN",
                "STARTTLS" if offers_tls => {
                    stream.write_all(b"220 go\r\n").await.ok()?;
                    return Some((self, stream));
                }
                "AUTH" => {
                    self.auth = argument.split_once(' ').map(|(_, said)| said.to_owned());
                    "235 it is you"
                }
                "MAIL" => {
                    (from, to) = (in_brackets(), Vec::new());
                    "250 yes"
                }
                "RCPT" if self.refuse.0.load(Ordering::SeqCst) > 0 => {
                    self.refuse.0.fetch_sub(1, Ordering::SeqCst);
                    *self.refuse.1.lock().unwrap()
                }
                "RCPT" => {
                    to.push(in_brackets());
                    "250 yes"
                }
                "DATA" => {
                    stream.write_all(b"354 go\r\n").await.ok()?;
                    let data = data(&mut stream).await?;
                    let taken = Taken { from: from.clone(), to: to.clone(), data, auth: self.auth.clone(), encrypted };
                    self.take.send(taken).await.ok()?;
                    "250 taken"
                }
                "QUIT" => {
                    stream.write_all(b"221 bye\r\n").await.ok();
                    return None;
                }
                _ => "500 what?",
            };
            stream.write_all(format!("{answer}\r\n").as_bytes()).await.ok()?;
        }
    }
}

async fn line<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut BufReader<S>) -> Option<String> {
    let mut line = String::new();
    let read = stream.read_line(&mut line).await.ok()?;
    (read > 0).then(|| line.trim_end_matches("\r\n").to_owned())
}

async fn data<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut BufReader<S>) -> Option<String> {
    let mut data = String::new();
    loop {
        let line = line(stream).await?;
        if line == "." {
            // Quoted-printable (RFC 2045, section 6.7), as far as mails of ASCII have it.
            return Some(data.replace("=\n", "").replace("=3D", "="));
        }
        data.push_str(line.strip_prefix('.').unwrap_or(&line));
        data.push('\n');
    }
}
