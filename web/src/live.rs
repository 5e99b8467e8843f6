//! Pages that follow what happens: the same page is made again and again, and what has changed of
//! its live part is sent. So there is one way in which something is shown, and no second one in a script.

use std::time::Duration;

use simsim_console::page::{PageBody, PageReply};
use tokio::sync::mpsc;

use crate::route;
use crate::visit::{Answer, Visit};
use crate::web::Web;

/// Between two looks.
const PAUSE: Duration = Duration::from_secs(1);
/// So often it is asked whether the session still is one. A page that is only followed does not
/// count as use of it.
const LOOKS_A_SESSION: u32 = 5;

/// Follows a page for as long as its session and the browser last.
pub fn follow(web: Web, visit: Visit) -> PageReply {
    let (sender, told) = mpsc::channel(4);
    tokio::spawn(async move {
        let mut last = String::new();
        for look in 1u32.. {
            if look % LOOKS_A_SESSION == 0 {
                match web.server().session_now(visit.secret.reveal()).await {
                    Ok(Some(grants)) if grants == visit.session.grants => {}
                    // The person may something else now: the browser asks again, as that person.
                    Ok(Some(_)) | Err(_) => return,
                    Ok(None) => {
                        let _ = sender.send(("ended", String::new())).await;
                        return;
                    }
                }
            }
            match route::page(&web, &visit).await {
                Ok(Answer::Page(page)) => {
                    // A page without a live part is not made again and again.
                    let Some(live) = page.live.map(maud::Markup::into_string) else { return };
                    if live != last {
                        if sender.send(("shown", live.clone())).await.is_err() {
                            return;
                        }
                        last = live;
                    }
                }
                Ok(_) => return,
                // It is shown when the page is loaded; here it is waited for that it goes.
                Err(_) => {}
            }
            tokio::select! {
                () = tokio::time::sleep(PAUSE) => {}
                () = sender.closed() => return,
            }
        }
    });
    PageReply::with(PageBody::Events(told))
}
