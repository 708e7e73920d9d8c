//! How long requests take the reference: told over the input what to load and what to run, it answers line by line.
//!
//! A message is a line with a word and a number of fields, then each field as a line with its length and its bytes:
//! `text` (directives), `file` (a path), `request` (method, URI, body, then names and values of headers in turn; the
//! answer is its number), `run` (that number, how often; the answer is nanoseconds and the verdict).

use std::io::{BufRead, Write as _};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use modsecurity::{ModSecurity, Rules};

struct Request {
    method: String,
    uri: String,
    body: Vec<u8>,
    headers: Vec<(String, String)>,
}

/// Serves until the input ends.
pub(crate) fn serve() -> Result<()> {
    let library = ModSecurity::builder().with_log_callbacks().build();
    let mut rules = Rules::new();
    let mut requests = Vec::new();
    let mut input = std::io::stdin().lock();
    let mut output = std::io::stdout().lock();
    while let Some((word, fields)) = message(&mut input)? {
        let answer = answer(&word, &fields, &library, &mut rules, &mut requests);
        match answer {
            Ok(answer) => writeln!(output, "{answer}")?,
            Err(error) => writeln!(output, "error {}", format!("{error:#}").replace('\n', " "))?,
        }
        output.flush()?;
    }
    Ok(())
}

fn message(input: &mut impl BufRead) -> Result<Option<(String, Vec<Vec<u8>>)>> {
    let mut line = String::new();
    if input.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let (word, count) = line
        .trim_end()
        .split_once(' ')
        .context("a word and a number")?;
    let fields = (0..count.parse::<usize>()?)
        .map(|_| {
            let mut length = String::new();
            input.read_line(&mut length)?;
            let mut field = vec![0; length.trim_end().parse()?];
            input.read_exact(&mut field)?;
            Ok(field)
        })
        .collect::<Result<_>>()?;
    Ok(Some((word.to_owned(), fields)))
}

fn answer(
    word: &str,
    fields: &[Vec<u8>],
    library: &ModSecurity,
    rules: &mut Rules,
    requests: &mut Vec<Request>,
) -> Result<String> {
    let text = |field: &Vec<u8>| String::from_utf8(field.clone());
    match (word, fields) {
        ("text", [directives]) => rules.add_plain(&text(directives)?)?,
        ("file", [path]) => rules.add_file(text(path)?)?,
        ("request", [method, uri, body, headers @ ..]) => {
            let headers = headers
                .chunks_exact(2)
                .map(|pair| Ok((text(&pair[0])?, text(&pair[1])?)));
            requests.push(Request {
                method: text(method)?,
                uri: text(uri)?,
                body: body.clone(),
                headers: headers.collect::<Result<_>>()?,
            });
            return Ok((requests.len() - 1).to_string());
        }
        ("run", [number, calls]) => {
            let number: usize = text(number)?.parse()?;
            let request = requests.get(number).context("no such request")?;
            let calls: u64 = text(calls)?.parse()?;
            let mut refused = false;
            let start = Instant::now();
            for _ in 0..calls {
                refused = run(library, rules, request)?;
            }
            let verdict = if refused { "refused" } else { "admitted" };
            return Ok(format!("{} {verdict}", start.elapsed().as_nanos()));
        }
        _ => bail!("no message `{word}` with {} fields", fields.len()),
    }
    Ok("done".to_owned())
}

/// The whole life of a request, as the suite has it for the other engines; whether it is refused.
fn run(library: &ModSecurity, rules: &Rules, request: &Request) -> Result<bool> {
    let mut tx = library
        .transaction_builder()
        .with_rules(rules)
        // Without one it writes to the error output.
        .with_logging(|_line| ())
        .build()?;
    tx.process_connection("127.0.0.1", 40_000, "127.0.0.1", 80)?;
    tx.process_uri(&request.uri, &request.method, "1.1")?;
    for (name, value) in &request.headers {
        tx.add_request_header(name, value)?;
    }
    tx.process_request_headers()?;
    let mut refused = tx.intervention().is_some();
    if !refused {
        tx.append_request_body(&request.body)?;
        tx.process_request_body()?;
        refused = tx.intervention().is_some();
    }
    if !refused {
        tx.add_response_header("Content-Type", "text/html")?;
        tx.process_response_headers(200, "HTTP/1.1")?;
        tx.process_response_body()?;
        refused = tx.intervention().is_some();
    }
    tx.process_logging()?;
    Ok(refused)
}
