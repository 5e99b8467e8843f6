//! The recovery kit as people keep it: a text file, and a page to print.
//!
//! With the kit and a copy of a datastore everything that it opens can be restored, on a host that never
//! saw its makers. So both say how, in words that hold without this suite's documentation.

use zeroize::Zeroizing;

/// Whose keys a kit opens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KitOwner {
    /// All keys that a server holds.
    Server { name: String, fingerprint: String },
    /// The keys that a client holds alone.
    Client { name: String },
    /// Not known here: a kit that somebody has at hand.
    Unknown,
}

/// A kit with what stands on it besides its groups.
pub struct KitPage<'a> {
    pub owner: &'a KitOwner,
    pub groups: &'a [String],
}

/// How to use it, a step a line; before a verb stands a colon.
const COPY: [&str; 3] = [
    "Bring a copy of the datastore's folder to any Linux host, and install simsim there. The \
     kit is asked for, and nothing is written to the copy.",
    "See what is there:                simsim rescue /the/copy list",
    "Restore the newest, or any other: simsim rescue /the/copy restore latest --to /a/folder",
];
const NEW_SERVER: [&str; 5] = [
    "To have the server itself again:  simsim recover /the/copy",
    "It goes on as the same one:       simsim server",
    "Without a backup of the server, start a new one in the same way.",
    "It takes the copy into service:   simsim datastore attach /the/copy",
    "And reads it with this kit:       simsim datastore rebuild-catalog --kit -",
];
const NEW_CLIENT: [&str; 2] = [
    "To go on with the client anew:    simsim client join SERVER --code CODE",
    "Give its keys back to it:         simsim key recover --kit -",
];

impl KitPage<'_> {
    /// The kit in plain text: the lines of groups would fit a label, the rest says how.
    pub fn text(&self) -> Zeroizing<String> {
        let groups: String = (1..)
            .zip(self.groups)
            .map(|(number, group)| format!("  {number:>2}  {group}\n"))
            .collect();
        let facts: String =
            self.facts().iter().map(|(name, fact)| format!("{name:<11}  {fact}\n")).collect();
        let steps: String =
            (1..).zip(self.steps()).map(|(number, step)| format!("  {number}. {step}\n")).collect();
        Zeroizing::new(format!(
            "SIMSIM RECOVERY KIT\n\n{facts}\n\
             The kit, eleven groups of six letters and digits:\n\n{groups}\n\
             In one line: {}\n\n\
             Whoever has this kit and a copy of a datastore can read what it opens there. Without\n\
             the kit, nobody can once {} is lost. Keep it on paper, away from there.\n\n\
             When {} is lost:\n\n{steps}",
            self.groups.join("-"),
            self.holder(),
            self.holder(),
        ))
    }

    /// The same, as a page to print.
    pub fn html(&self) -> Zeroizing<String> {
        let groups: String = self
            .groups
            .iter()
            .map(|group| format!("<li><code>{}</code></li>", escape(group)))
            .collect();
        let facts: String = self
            .facts()
            .iter()
            .map(|(name, fact)| format!("<dt>{}</dt><dd>{}</dd>", escape(name), escape(fact)))
            .collect();
        let steps: String = self
            .steps()
            .map(|step| match step.split_once(':') {
                Some((what, verb)) => {
                    format!("<li>{}:<br><code>{}</code></li>", escape(what), escape(verb.trim()))
                }
                None => format!("<li>{}</li>", escape(step)),
            })
            .collect();
        let holder = self.holder();
        Zeroizing::new(format!(
            "<!doctype html><html lang=en><meta charset=utf-8><title>simsim recovery kit</title>\
             <style>@page{{margin:2cm}}body{{font:12pt/1.4 serif;max-width:42em;margin:2em auto}}\
             code{{font:bold 12pt monospace;letter-spacing:.08em}}ol.kit{{columns:2}}\
             dt{{float:left;width:6em}}</style>\
             <h1>simsim recovery kit</h1><dl>{facts}</dl><ol class=kit>{groups}</ol>\
             <p>Whoever has this kit and a copy of a datastore can read what it opens there. Without \
             the kit, nobody can once {holder} is lost. Keep it on paper, away from \
             there.</p><h2>When {holder} is lost</h2><ol>{steps}</ol></html>\n",
        ))
    }

    fn facts(&self) -> Vec<(&'static str, &str)> {
        match self.owner {
            KitOwner::Server { name, fingerprint } => {
                vec![("Server", name), ("Its key", fingerprint)]
            }
            KitOwner::Client { name } => {
                vec![("Client", name), ("Opens", "what it alone can read")]
            }
            KitOwner::Unknown => vec![("Made for", "see the page before")],
        }
    }

    fn holder(&self) -> &'static str {
        match self.owner {
            KitOwner::Server { .. } => "the server",
            KitOwner::Client { .. } => "the client",
            KitOwner::Unknown => "who made it",
        }
    }

    fn steps(&self) -> impl Iterator<Item = &'static str> {
        let more: &'static [&'static str] = match self.owner {
            KitOwner::Server { .. } | KitOwner::Unknown => &NEW_SERVER,
            KitOwner::Client { .. } => &NEW_CLIENT,
        };
        COPY.iter().chain(more).copied()
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_hold_every_group_and_say_what_to_do() {
        let groups: Vec<String> = (0..11).map(|at| format!("GROUP{at}")).collect();
        let server =
            KitOwner::Server { name: "a<b".to_owned(), fingerprint: "SHA256:x".to_owned() };
        let client = KitOwner::Client { name: "a<b".to_owned() };
        for (owner, step) in [(&server, "rebuild-catalog"), (&client, "simsim key recover")] {
            let page = KitPage { owner, groups: &groups };
            for text in [page.text(), page.html()] {
                let parts = groups.iter().map(String::as_str);
                for part in parts.chain(["simsim rescue /the/copy list", step]) {
                    assert!(text.contains(part), "{part}: {}", text.as_str());
                }
            }
            assert!(!page.html().contains("a<b") && page.html().contains("a&lt;b"));
        }
        assert!(KitPage { owner: &server, groups: &groups }.text().contains("SHA256:x"));
    }
}
