//! What the admin listener shows to whoever asks it.

use super::search::Search;
use crate::wire::Wire;
use crate::within;
use crate::world::World;

/// Every page that there is, and one that there is not.
const PAGES: [&str; 4] = ["/metrics", "/healthz", "/readyz", "/nothing"];

/// Searches every answer, heads included.
pub async fn search(world: &World, search: &Search) {
    for page in PAGES {
        for method in ["GET", "HEAD", "POST"] {
            let received = ask(world, method, page).await;
            if (method, page) == ("GET", "/metrics") {
                let counts = memchr::memmem::find(&received, b"\negret_");
                assert!(counts.is_some(), "these are no metrics");
            }
            assert_eq!(search.find(&received), None, "in {page}");
        }
    }
}

async fn ask(world: &World, method: &str, page: &str) -> Vec<u8> {
    let connecting = tokio::net::TcpStream::connect(world.admin);
    let socket = within("connecting to the admin listener", connecting).await;
    let mut wire = Wire::new(socket.expect("the admin listener listens"));
    let request = format!(
        "{method} {page} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
        world.admin
    );
    wire.send(request).await.expect("send a request");
    let answer = within("a page", wire.response(method == "HEAD")).await;
    answer.expect("an answer of the admin listener");
    wire.received
}
