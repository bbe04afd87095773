//! A login through a browser of this machine (RFC 8252): it comes back to an address on which this process listens.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};

/// Bytes of a browser's request line.
const LINE_BYTES_MAX: u64 = 16 * 1024;
/// How long a browser may take to send it.
const LINE_TIME_MAX: Duration = Duration::from_secs(10);

/// Where the browser comes back to.
pub(super) struct Loopback {
    listener: TcpListener,
    address: SocketAddr,
}

impl Loopback {
    /// Listens on a port that is free.
    ///
    /// # Errors
    /// There is none.
    pub(super) fn listen() -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("listen for the browser")?;
        let address = listener.local_addr().context("listen for the browser")?;
        Ok(Self { listener, address })
    }

    /// What the server is told to send the browser back to.
    pub(super) fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// Waits for the browser.
    ///
    /// # Errors
    /// The person did not let this program in, or the provider's answer was not taken.
    pub(super) fn code(&self) -> anyhow::Result<String> {
        for stream in self.listener.incoming() {
            let Ok(stream) = stream else { continue };
            // Whatever else asks here is told that there is nothing.
            match came(&stream) {
                Some(Ok(code)) => {
                    answer(stream, "200 OK", "You are logged in. This window can be closed.");
                    return Ok(code);
                }
                Some(Err(why)) => {
                    answer(stream, "200 OK", "You are not logged in. This window can be closed.");
                    match why.as_str() {
                        "denied" => bail!("you did not let this program in"),
                        "unavailable" => bail!("the login provider does not answer; try again in a moment"),
                        _ => bail!("the login provider's answer was not taken; log in again"),
                    }
                }
                None => answer(stream, "404 Not Found", "There is nothing here."),
            }
        }
        bail!("nobody listens for the browser any more")
    }
}

/// What a request brings: a code, or a word for why there is none.
fn came(stream: &TcpStream) -> Option<Result<String, String>> {
    stream.set_read_timeout(Some(LINE_TIME_MAX)).ok()?;
    let mut line = String::new();
    BufReader::new(stream.take(LINE_BYTES_MAX)).read_line(&mut line).ok()?;
    parse(&line)
}

fn parse(line: &str) -> Option<Result<String, String>> {
    let (name, value) = line.strip_prefix("GET /?")?.split(' ').next()?.split_once('=')?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    if value.is_empty() || !value.bytes().all(plain) {
        return None;
    }
    match name {
        "login" => Some(Ok(value.to_owned())),
        "login_error" => Some(Err(value.to_owned())),
        _ => None,
    }
}

fn answer(mut stream: TcpStream, status: &str, text: &str) {
    let body = format!("{text}\n");
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\nCache-Control: no-store\r\n\
         Connection: close\r\n\r\n",
        body.len()
    );
    // A browser that is gone has seen enough.
    stream.write_all(format!("{head}{body}").as_bytes()).ok();
}

/// Shows an address in a browser, where a desktop is there to do so. Whether it did is not known.
pub(super) fn open_browser(url: &str) {
    let has_desktop = ["DISPLAY", "WAYLAND_DISPLAY"].iter().any(|name| std::env::var_os(name).is_some());
    let program = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
    if cfg!(target_os = "macos") || has_desktop {
        let nothing = (Stdio::null(), Stdio::null(), Stdio::null());
        // The address is printed as well: nothing is lost where there is no such program.
        Command::new(program).arg(url).stdin(nothing.0).stdout(nothing.1).stderr(nothing.2).spawn().ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_browser_that_comes_back_is_told_from_whatever_else_asks() {
        assert_eq!(parse("GET /?login=aB-_9 HTTP/1.1\r\n"), Some(Ok("aB-_9".into())));
        assert_eq!(parse("GET /?login_error=denied HTTP/1.1\r\n"), Some(Err("denied".into())));
        for line in [
            "",
            "GET / HTTP/1.1",
            "GET /favicon.ico HTTP/1.1",
            "POST /?login=a HTTP/1.1",
            "GET /?login= HTTP/1.1",
            "GET /?login=<script> HTTP/1.1",
            "GET /?other=a HTTP/1.1",
        ] {
            assert_eq!(parse(line), None, "{line}");
        }
    }

    #[test]
    fn whatever_asks_before_the_browser_comes_gets_nothing() {
        let loopback = Loopback::listen().unwrap();
        let ask = |line: &str| {
            let mut stream = TcpStream::connect(loopback.address).unwrap();
            stream.write_all(line.as_bytes()).unwrap();
            let mut told = String::new();
            stream.read_to_string(&mut told).unwrap();
            told
        };
        std::thread::scope(|scope| {
            let code = scope.spawn(|| loopback.code().unwrap());
            assert!(ask("GET /favicon.ico HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 404"));
            assert!(ask("GET /?login=abc HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 200"));
            assert_eq!(code.join().unwrap(), "abc");
        });
    }
}
