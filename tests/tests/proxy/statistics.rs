//! Figures that others read: twemproxy's JSON page beside nutcracker's own, and Prometheus with its real tools.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};

use redstart_tests::proxy_support::{Folder, Process, Proxy, Redis, eventually, free_port};
use serde_json::Value;

fn read_all(port: u16) -> String {
    let mut text = String::new();
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("connected");
    stream.read_to_string(&mut text).expect("read");
    text
}

fn http_get(port: u16, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    head.starts_with("HTTP/1.1 200").then(|| body.to_owned())
}

/// The names in an object and in the objects within, with the kind of each value.
fn shape(value: &Value, path: &str, into: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                shape(field, &format!("{path}/{name}"), into);
            }
        }
        Value::Number(_) => drop(into.insert(format!("{path}: number"))),
        Value::String(_) => drop(into.insert(format!("{path}: text"))),
        other => panic!("{path}: {other}"),
    }
}

#[test]
fn the_json_page_has_the_shape_of_nutcrackers() {
    let servers: Vec<Redis> = (0..2).map(|_| Redis::start()).collect();
    let folder = Folder::new();
    let (stats, listen) = (free_port(), free_port());
    let mut text = format!("test:\n  listen: 127.0.0.1:{listen}\n  redis: true\n  servers:\n");
    for (number, server) in servers.iter().enumerate() {
        text += &format!("    - 127.0.0.1:{}:1 server{number}\n", server.port);
    }
    std::fs::write(folder.join("conf.yml"), text).expect("written");
    let mut command = Command::new("nutcracker");
    command.arg("-c").arg(folder.join("conf.yml")).args([
        "-a",
        "127.0.0.1",
        "-s",
        &stats.to_string(),
    ]);
    command.arg("-o").arg(folder.join("out")).arg("-p").arg(folder.join("pid"));
    let _nutcracker = Process::start(&mut command, &folder.join("log"));
    eventually("nutcracker's page", || TcpStream::connect(("127.0.0.1", stats)).is_ok());
    let own = free_port();
    let ports: Vec<u16> = servers.iter().map(|server| server.port).collect();
    let own_text = own.to_string();
    let proxy = Proxy::start_with(
        "",
        &ports,
        &["-s", &own_text, "-a", "127.0.0.1", "-i", "1", "--workers", "2"],
    );
    let mut client = proxy.client();
    for number in 0..100 {
        assert_eq!(client.call(&format!("SET key{number} v")), "+OK\r\n");
    }
    assert!(client.call("MGET key1 key2 key3 key4 key5 key6").starts_with("*6\r\n"));
    let (mut theirs, mut ours) = (BTreeSet::new(), BTreeSet::new());
    shape(&serde_json::from_str(&read_all(stats)).expect("their JSON"), "", &mut theirs);
    shape(&serde_json::from_str(&read_all(own)).expect("our JSON"), "", &mut ours);
    assert_eq!(ours, theirs);
    let http = http_get(own, "/").expect("an answer to whoever speaks HTTP");
    assert!(serde_json::from_str::<Value>(&http).is_ok_and(|page| page["test"].is_object()));
    // What was opened was opened, though it is closed by now.
    let total = || page(own)["total_connections"].as_u64().expect("a number");
    let before = total();
    for server in &servers {
        server.client().call("CLIENT KILL TYPE normal");
    }
    eventually("they are opened again", || {
        client.call("MGET key1 key2 key3 key4 key5 key6");
        total() >= before + 2
    });
    let count = |page: &Value, figure: &str| -> u64 {
        ["server0", "server1"]
            .iter()
            .filter_map(|server| page["test"][server][figure].as_u64())
            .sum()
    };
    eventually("the figures are right", || {
        let page: Value = serde_json::from_str(&read_all(own)).expect("our JSON");
        page["test"]["client_connections"].as_u64() == Some(1)
            && count(&page, "requests") >= 101
            && count(&page, "responses") <= count(&page, "requests")
            && count(&page, "in_queue") + count(&page, "out_queue") == 0
    });
}

/// The page of a proxy whose statistics port this is.
fn page(port: u16) -> Value {
    serde_json::from_str(&read_all(port)).expect("JSON")
}

#[test]
fn the_parts_of_a_split_request_are_counted_with_all_their_bytes() {
    let servers: Vec<Redis> = (0..2).map(|_| Redis::start()).collect();
    let ports: Vec<u16> = servers.iter().map(|server| server.port).collect();
    let stats = free_port();
    let options = ["-s", &stats.to_string(), "-a", "127.0.0.1", "-i", "1", "--workers", "1"];
    let proxy = Proxy::start_with("", &ports, &options);
    let values: String =
        (0..100).map(|number| format!(" key{number:02} value{number:02}")).collect();
    assert_eq!(proxy.client().call(&format!("MSET{values}")), "+OK\r\n");
    // Each part begins with *NN or *NNN and the command, and each key comes with its value.
    let (pairs, heads) = (100 * (11 + 13), 2 * (5 + 10)..=2 * (6 + 10));
    eventually("every byte is counted", || {
        let page = page(stats);
        let sum = |figure: &str| -> u64 {
            let of = |server: &str| page["test"][server][figure].as_u64().expect("a number");
            of("server0") + of("server1")
        };
        sum("requests") == 2 && heads.contains(&sum("request_bytes").saturating_sub(pairs))
    });
}

#[test]
fn who_breaks_the_protocol_is_told_from_who_leaves() {
    let server = Redis::start();
    let stats = free_port();
    let options = ["-s", &stats.to_string(), "-a", "127.0.0.1", "-i", "1", "--workers", "1"];
    let proxy = Proxy::start_with("", &[server.port], &options);
    let figures = || {
        let pool = &page(stats)["test"];
        (pool["client_eof"].as_u64(), pool["client_err"].as_u64())
    };
    // Somebody came to see whether the proxy listens, and left.
    eventually("one has left", || figures() == (Some(1), Some(0)));
    for text in ["*1\r\n$-5\r\n", "*1\r\n*1\r\n", "PING\r\n*x\r\n"] {
        let mut client = proxy.client();
        client.send_raw(text.as_bytes());
        while client.try_receive().is_some() {}
    }
    for text in ["QUIT\r\n", "PING\r\n"] {
        let mut client = proxy.client();
        client.send_raw(text.as_bytes());
        client.receive();
    }
    eventually("both are counted", || figures() == (Some(3), Some(3)));
}

#[test]
fn a_connection_that_cannot_be_opened_is_counted_as_nutcracker_does() {
    let stats = free_port();
    let text = stats.to_string();
    let options = ["-s", &text, "-a", "127.0.0.1", "-i", "1", "--workers", "1"];
    let gone = Proxy::start_with("", &[free_port()], &options);
    assert_eq!(gone.client().call("GET k"), "-ERR Connection refused\r\n");
    eventually("the failure is counted", || {
        let pool = &page(stats)["test"];
        let server = &pool["server0"];
        pool["forward_error"] == 1 && server["server_err"] == 1 && server["server_timedout"] == 0
    });

    // The kernel takes the connection, but nobody answers to the password.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = silent.local_addr().expect("its address").port();
    let stats = free_port();
    let text = stats.to_string();
    let options = ["-s", &text, "-a", "127.0.0.1", "-i", "1", "--workers", "1"];
    let proxy = Proxy::start_with("  timeout: 200\n  redis_auth: secret\n", &[port], &options);
    let mut client = proxy.client();
    assert_eq!(client.call("AUTH secret"), "+OK\r\n");
    assert_eq!(client.call("GET k"), "-ERR Connection timed out\r\n");
    eventually("the silence is counted", || {
        let server = &page(stats)["test"]["server0"];
        server["server_timedout"].as_u64() > Some(0) && server["server_err"] == 0
    });
}

#[test]
fn prometheus_scrapes_and_promtool_finds_no_fault() {
    let servers: Vec<Redis> = (0..2).map(|_| Redis::start()).collect();
    let ports: Vec<u16> = servers.iter().map(|server| server.port).collect();
    let metrics = free_port();
    let address = format!("127.0.0.1:{metrics}");
    let proxy =
        Proxy::start_with("", &ports, &["-s", "0", "--metrics", &address, "--workers", "2"]);
    eventually("the log names the place", || {
        proxy.log().contains(&format!("http://{address}/metrics"))
    });
    let mut client = proxy.client();
    for number in 0..200 {
        assert_eq!(client.call(&format!("SET key{number} v")), "+OK\r\n");
    }
    assert!(client.call("LPUSH key1 x").starts_with("-WRONGTYPE"));
    let mut page = String::new();
    eventually("the figures appear", || {
        page = http_get(metrics, "/metrics").unwrap_or_default();
        page.contains("redstart_proxy_commands_total{pool=\"test\",command=\"set\"} 200")
            && page.contains("redstart_proxy_errors_total{pool=\"test\",code=\"WRONGTYPE\"} 1")
    });
    for name in [
        "redstart_proxy_request_duration_seconds_bucket",
        "redstart_proxy_backend_duration_seconds_bucket",
        "redstart_proxy_backend_in_flight_requests",
        "redstart_proxy_backend_ejections_total",
        "redstart_proxy_clients",
    ] {
        assert!(page.contains(&format!("{name}{{")), "{name} in {page}");
    }
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool");
    promtool.stdin.take().expect("stdin").write_all(page.as_bytes()).expect("written");
    let checked = promtool.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&checked.stdout) + String::from_utf8_lossy(&checked.stderr);
    assert!(checked.status.success() && said.trim().is_empty(), "promtool: {said}\n{page}");

    let folder = Folder::new();
    let web = free_port();
    std::fs::write(
        folder.join("prometheus.yml"),
        format!(
            "global:\n  scrape_interval: 500ms\nscrape_configs:\n  - job_name: redstart\n    static_configs:\n      - targets: ['{address}']\n"
        ),
    )
    .expect("written");
    let mut command = Command::new("prometheus");
    command
        .arg(format!("--config.file={}", folder.join("prometheus.yml").display()))
        .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
        .arg(format!("--web.listen-address=127.0.0.1:{web}"));
    let _prometheus = Process::start(&mut command, &folder.join("log"));
    let query = "/api/v1/query?query=sum(rate(redstart_proxy_requests_total%5B5s%5D))";
    let mut number = 0;
    eventually("Prometheus tells the rate of requests", || {
        // Requests go on, so that there is a rate.
        for _ in 0..50 {
            number += 1;
            assert_eq!(client.call(&format!("SET more{number} v")), "+OK\r\n");
        }
        let Some(body) = http_get(web, query) else { return false };
        let Some(start) = body.find('{') else { return false };
        let end = body.rfind('}').map_or(body.len(), |end| end + 1);
        let Ok(answer) = serde_json::from_str::<Value>(&body[start..end]) else { return false };
        answer["data"]["result"][0]["value"][1]
            .as_str()
            .and_then(|rate| rate.parse::<f64>().ok())
            .is_some_and(|rate| rate > 1.0)
    });
}
