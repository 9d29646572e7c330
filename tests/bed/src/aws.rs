//! Systems Manager and the instance metadata service, as far as the agent uses them, strict where the real ones are.
//!
//! Shapes, lengths, patterns and errors are those of the API's model (`ssm`, 2014-11-06); moto, which answers other calls, has
//! neither of these two. A request is refused unless its signature is that of the credentials that were handed out
//! (<https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>).

use std::collections::VecDeque;
use std::io::{self, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::http::{Request, hex, hmac_sha256};

/// The host that this metadata service tells of.
pub const INSTANCE: &str = "i-0123456789abcdef0";
/// Its region.
pub const REGION: &str = "eu-central-1";

const KEY_ID: &str = "ASIAEXAMPLEEXAMPLE00";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
const SESSION_TOKEN: &str = "a-session-token";
const IMDS_TOKEN: &str = "an-imds-token";
const TOKEN_LIFE: &str = "x-aws-ec2-metadata-token-ttl-seconds";

/// A call that was found sound, or why it was not.
#[derive(Clone, Debug)]
pub struct Call {
    /// `PutInventory`
    pub action: String,
    /// What it said.
    pub body: Value,
    /// What is wrong with it; nothing when it is sound.
    pub faults: Vec<String>,
}

#[derive(Debug, Default)]
struct State {
    errors: VecDeque<&'static str>,
    calls: Vec<Call>,
}

/// Both services on one port. Their threads end with the process.
#[derive(Debug)]
pub struct Aws {
    port: u16,
    state: Arc<Mutex<State>>,
}

impl Aws {
    /// Listens on a free port of the loopback interface.
    ///
    /// # Errors
    /// When it cannot.
    pub fn start() -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let port = listener.local_addr()?.port();
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let state = Arc::clone(&shared);
                // What goes wrong with a connection is the business of whoever is at its other end.
                std::thread::spawn(move || drop(serve(stream, &state)));
            }
        });
        Ok(Self { port, state })
    }

    /// Where both are.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The errors that the next sound calls get.
    pub fn fail(&self, errors: impl IntoIterator<Item = &'static str>) {
        lock(&self.state).errors.extend(errors);
    }

    /// The calls so far.
    pub fn calls(&self) -> Vec<Call> {
        lock(&self.state).calls.clone()
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn serve(stream: TcpStream, state: &Mutex<State>) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let request = Request::read(&mut stream)?;
        let (status, body) = match request.header("x-amz-target").strip_prefix("AmazonSSM.") {
            Some(action) => call(action, &request, state),
            None => metadata(&request),
        };
        // The metadata service names the life of a token in its answer.
        let life = request.header(TOKEN_LIFE);
        let life = if life.is_empty() { String::new() } else { format!("{TOKEN_LIFE}: {life}\r\n") };
        let head = format!("HTTP/1.1 {status} So\r\n{life}Content-Length: {}\r\n\r\n", body.len());
        stream.get_mut().write_all((head + &body).as_bytes())?;
    }
}

/// IMDSv2: without a token there is nothing.
fn metadata(request: &Request) -> (u16, String) {
    let path = request.path.as_str();
    if request.method == "PUT" {
        let seconds = request.header(TOKEN_LIFE).parse::<u32>();
        let is_sound =
            path == "/latest/api/token" && seconds.is_ok_and(|seconds| (1..=21_600).contains(&seconds));
        return if is_sound { (200, IMDS_TOKEN.to_owned()) } else { (400, String::new()) };
    }
    if request.header("x-aws-ec2-metadata-token") != IMDS_TOKEN {
        return (401, String::new());
    }
    let credentials = || {
        json!({
            "Code": "Success", "Type": "AWS-HMAC", "LastUpdated": "2026-01-01T00:00:00Z",
            "AccessKeyId": KEY_ID, "SecretAccessKey": SECRET, "Token": SESSION_TOKEN,
            "Expiration": "2099-01-01T00:00:00Z",
        })
    };
    match path {
        "/latest/meta-data/instance-id" => (200, INSTANCE.to_owned()),
        "/latest/meta-data/placement/region" => (200, REGION.to_owned()),
        "/latest/meta-data/iam/security-credentials/" => (200, "the-role".to_owned()),
        "/latest/meta-data/iam/security-credentials/the-role" => (200, credentials().to_string()),
        _ => (404, String::new()),
    }
}

fn call(action: &str, request: &Request, state: &Mutex<State>) -> (u16, String) {
    let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    let mut faults = shape_faults(action, &body);
    if let Some(fault) = signature_fault(request) {
        faults.push(fault);
    }
    let mut state = lock(state);
    let is_sound = faults.is_empty();
    state.calls.push(Call { action: action.to_owned(), body, faults });
    let error = if is_sound { state.errors.pop_front() } else { Some("ValidationException") };
    match error {
        None => (200, "{}".to_owned()),
        Some(error) => {
            let status = if error == "InternalServerError" { 500 } else { 400 };
            (status, json!({ "__type": error, "message": "as it was told" }).to_string())
        }
    }
}

fn shape_faults(action: &str, body: &Value) -> Vec<String> {
    let schema = match action {
        "PutComplianceItems" => compliance(),
        "PutInventory" => inventory(),
        _ => return vec![format!("{action} is no action of this service")],
    };
    match jsonschema::validator_for(&schema) {
        Ok(validator) => {
            validator.iter_errors(body).map(|error| format!("{}: {error}", error.instance_path())).collect()
        }
        Err(error) => vec![error.to_string()],
    }
}

/// A structure: required members, and no others than these.
fn structure(required: &[&str], members: &Value) -> Value {
    json!({ "type": "object", "required": required, "properties": members, "additionalProperties": false })
}

fn text(least: u32, most: u32) -> Value {
    json!({ "type": "string", "minLength": least, "maxLength": most })
}

fn matching(pattern: &str) -> Value {
    json!({ "type": "string", "pattern": pattern })
}

/// `AttributeName` to `AttributeValue`.
fn attributes() -> Value {
    json!({ "type": "object", "propertyNames": text(1, 64), "additionalProperties": text(0, 4096), "maxProperties": 50 })
}

fn compliance() -> Value {
    let item = structure(
        &["Severity", "Status"],
        &json!({
            "Id": text(1, 100),
            "Title": text(0, 500),
            "Severity": { "enum": ["CRITICAL", "HIGH", "MEDIUM", "LOW", "INFORMATIONAL", "UNSPECIFIED"] },
            "Status": { "enum": ["COMPLIANT", "NON_COMPLIANT"] },
            "Details": attributes(),
        }),
    );
    let summary = structure(
        &["ExecutionTime"],
        &json!({ "ExecutionTime": { "type": "number" }, "ExecutionId": text(0, 100), "ExecutionType": text(0, 50) }),
    );
    structure(
        &["ResourceId", "ResourceType", "ComplianceType", "ExecutionSummary", "Items"],
        &json!({
            "ResourceId": { "const": INSTANCE },
            "ResourceType": { "const": "ManagedInstance" },
            "ComplianceType": matching(r"^([A-Za-z0-9_\-]\w+|Custom:[a-zA-Z0-9_\-]\w+)$"),
            "ExecutionSummary": summary,
            "Items": { "type": "array", "items": item, "maxItems": 10_000 },
            "ItemContentHash": text(0, 256),
            "UploadType": { "enum": ["COMPLETE", "PARTIAL"] },
        }),
    )
}

fn inventory() -> Value {
    let time = "^(20)[0-9][0-9]-(0[1-9]|1[012])-([12][0-9]|3[01]|0[1-9])(T)(2[0-3]|[0-1][0-9])(:[0-5][0-9])(:[0-5][0-9])(Z)$";
    let item = structure(
        &["TypeName", "SchemaVersion", "CaptureTime"],
        &json!({
            "TypeName": matching("^(AWS|Custom):.*$"),
            "SchemaVersion": matching(r"^([0-9]{1,6})(\.[0-9]{1,6})$"),
            "CaptureTime": matching(time),
            "ContentHash": text(0, 256),
            "Content": { "type": "array", "items": attributes(), "maxItems": 10_000 },
            "Context": attributes(),
        }),
    );
    structure(
        &["InstanceId", "Items"],
        &json!({
            "InstanceId": matching(r"(^i-(\w{8}|\w{17})$)|(^mi-\w{17}$)"),
            "Items": { "type": "array", "items": item, "minItems": 1, "maxItems": 30 },
        }),
    )
}

/// Signature version 4, computed a second time from what arrived.
fn signature_fault(request: &Request) -> Option<String> {
    let authorization = request.header("authorization");
    let part = |name: &str| authorization.split_once(name)?.1.split([',', ' ']).next();
    let (Some(credential), Some(signed), Some(signature)) =
        (part("Credential="), part("SignedHeaders="), part("Signature="))
    else {
        return Some(format!("it is not signed: {authorization}"));
    };
    let time = request.header("x-amz-date");
    let date = time.get(..8).unwrap_or_default();
    let scope = format!("{date}/{REGION}/ssm/aws4_request");
    if credential != format!("{KEY_ID}/{scope}") {
        return Some(format!("it is signed for {credential}"));
    }
    if request.header("x-amz-security-token") != SESSION_TOKEN || !signed.contains("x-amz-security-token") {
        return Some("the session token is missing, or not signed".to_owned());
    }
    let headers: String =
        signed.split(';').map(|name| format!("{name}:{}\n", request.header(name))).collect();
    let canonical = format!(
        "{}\n{}\n\n{headers}\n{signed}\n{}",
        request.method,
        request.path,
        hex(&Sha256::digest(&request.body))
    );
    let to_sign = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", hex(&Sha256::digest(canonical)));
    let first = format!("AWS4{SECRET}").into_bytes();
    let key = [date, REGION, "ssm", "aws4_request"]
        .iter()
        .fold(first, |key, part| hmac_sha256(&key, part.as_bytes()));
    let expected = hex(&hmac_sha256(&key, to_sign.as_bytes()));
    (signature != expected).then(|| format!("its signature is {signature}, and must be {expected}"))
}
