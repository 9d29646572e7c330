//! A lifecycle coordinator that takes reports over HTTPS, and fails in whatever way it is told.

use std::collections::VecDeque;
use std::io::{self, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::Authority;
use crate::http::Request;

/// What is done with one connection.
#[derive(Clone, Debug)]
pub enum Behaviour {
    /// Answers with this status, and this header if it is not empty.
    Answer(u16, &'static str),
    /// Accepts the connection and never says anything.
    HangInTls,
    /// Reads the request, and never answers.
    HangAfterRequest,
    /// Reads the request and cuts the connection.
    Cut,
    /// Answers 200 with a body that does not end.
    Endless,
}

#[derive(Debug, Default)]
struct State {
    behaviours: VecDeque<Behaviour>,
    received: Vec<Request>,
    /// Connections that hang stay open for as long as the coordinator lives.
    hanging: Vec<TcpStream>,
    connections: usize,
}

/// The coordinator. Its threads end with the process.
#[derive(Debug)]
pub struct Coordinator {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl Coordinator {
    /// Listens on a free port of the loopback interface.
    ///
    /// # Errors
    /// When it cannot listen, or the certificate cannot be used.
    pub fn start(authority: &Authority) -> io::Result<Self> {
        let config = Arc::new(config(&authority.file("cert.pem"), &authority.file("key.pem"))?);
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (config, state) = (Arc::clone(&config), Arc::clone(&shared));
                // What goes wrong with a connection is the business of whoever is at its other end.
                std::thread::spawn(move || drop(serve(stream, config, &state)));
            }
        });
        Ok(Self { address, state })
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("https://localhost:{}/reports", self.address.port())
    }

    /// What is done with the next connections; those after them are answered with 200.
    pub fn behave(&self, behaviours: impl IntoIterator<Item = Behaviour>) {
        self.state().behaviours.extend(behaviours);
    }

    /// What was received so far.
    pub fn received(&self) -> Vec<Request> {
        self.state().received.clone()
    }

    /// How many connections there were.
    pub fn connections(&self) -> usize {
        self.state().connections
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn config(certificate: &Path, key: &Path) -> io::Result<ServerConfig> {
    let certificates: Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(certificate).map_err(io::Error::other)?.collect();
    let key = PrivateKeyDer::from_pem_file(key).map_err(io::Error::other)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(io::Error::other)?.with_no_client_auth();
    builder.with_single_cert(certificates.map_err(io::Error::other)?, key).map_err(io::Error::other)
}

fn serve(stream: TcpStream, config: Arc<ServerConfig>, state: &Mutex<State>) -> io::Result<()> {
    let behaviour = {
        let mut state = lock(state);
        state.connections += 1;
        state.behaviours.pop_front().unwrap_or(Behaviour::Answer(200, ""))
    };
    if matches!(behaviour, Behaviour::HangInTls) {
        lock(state).hanging.push(stream);
        return Ok(());
    }
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let raw = stream.try_clone()?;
    let connection = ServerConnection::new(config).map_err(io::Error::other)?;
    let mut stream = BufReader::new(StreamOwned::new(connection, stream));
    // A client that gave up has sent nothing that counts.
    let received = Request::read(&mut stream)?;
    lock(state).received.push(received);
    let mut stream = stream.into_inner();
    match behaviour {
        Behaviour::Answer(status, header) => {
            let header = if header.is_empty() { String::new() } else { format!("{header}\r\n") };
            write!(stream, "HTTP/1.1 {status} So\r\n{header}Content-Length: 0\r\nConnection: close\r\n\r\n")?;
            stream.conn.send_close_notify();
            stream.flush()
        }
        Behaviour::HangInTls | Behaviour::HangAfterRequest => {
            lock(state).hanging.push(raw);
            Ok(())
        }
        Behaviour::Cut => raw.shutdown(std::net::Shutdown::Both),
        Behaviour::Endless => {
            write!(stream, "HTTP/1.1 200 So\r\nContent-Length: 99999999999\r\n\r\n")?;
            let block = [b'x'; 4096];
            loop {
                stream.write_all(&block)?;
            }
        }
    }
}
