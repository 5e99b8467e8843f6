//! Access tokens, and jobs that wait for a raw stream.

use simsim_catalog::{Catalog, JobFilter, JobState, NewToken, Task, Token};
use simsim_model::Kind;

use super::datastores::check_name;
use super::people::is_later;
use crate::api::{
    ChangeTokenRequest, CreateTokenReply, CreateTokenRequest, StartStreamReply, StartStreamRequest,
    TokenNameRequest, TokenView,
};
use crate::clock::now_unix_ms;
use crate::rights::{Object, Principal, Right};
use crate::streams::{self, OwnDoors, external_options, new_ticket, new_token, own_doors};
use crate::{Server, ServerError};

/// Ten years.
const TOKEN_DAYS_MAX: u32 = 3650;
const DAY_MS: i64 = 86_400_000;
/// The file that commands name, made by 'simsim interface authority'.
const AUTHORITY_FILE: &str = "simsim-ca.pem";

impl Server {
    /// Makes an access token for one external task. Its secret is in the answer and nowhere else.
    pub async fn create_token(
        &self,
        who: &Principal,
        request: CreateTokenRequest,
    ) -> Result<CreateTokenReply, ServerError> {
        check_name(&request.name)?;
        check_days(request.expires_days)?;
        let name = request.task.clone();
        let task = self.house.books.run(move |catalog| catalog.task(&name)).await?;
        let object = Object::task(&task.settings);
        let days = in_days(request.expires_days);
        let allows = request.allow;
        let detail =
            format!("'{}' for task '{}', {}, {days}", request.name, request.task, allows.as_str());
        self.may_see(who, Right::Administer, "make a token for", object).await?;
        external_options(&task)?;
        // Whoever has it reads what the task saved, wherever they are.
        if allows.may_read() {
            let verb = "make a token that reads data of";
            self.may_see(who, Right::RestoreToOther, verb, object).await?;
        }
        self.may_do(who, Right::Administer, "token.create", object, detail).await?;
        let (secret, secret_hash) = new_token()?;
        let now = now_unix_ms();
        let expires_unix_ms = expiry(request.expires_days);
        let new = NewToken {
            name: request.name,
            task: request.task.clone(),
            allows,
            secret_hash,
            expires_unix_ms,
        };
        let token = self.house.books.run(move |catalog| catalog.add_token(&new, now)).await?;
        let (url, ftp_url) = match own_doors(&self.house).await {
            Ok(doors) => urls(&doors, &request.task),
            Err(_) => (String::new(), String::new()),
        };
        let token = view(token, task.settings.client);
        Ok(CreateTokenReply { token, secret: secret.reveal().to_owned(), url, ftp_url })
    }

    /// The tokens for tasks of clients that the caller may see, by name.
    pub async fn tokens(&self, who: &Principal) -> Result<Vec<TokenView>, ServerError> {
        let (tokens, tasks) =
            self.house.books.run(|catalog| Ok((catalog.tokens()?, catalog.tasks()?))).await?;
        let mut views = Vec::new();
        for token in tokens {
            let Some(task) = tasks.iter().find(|task| task.id == token.task) else { continue };
            if who.may(Right::View, Object::task(&task.settings)) {
                views.push(view(token, task.settings.client.clone()));
            }
        }
        if views.is_empty() {
            self.may_see(who, Right::View, "list tokens", Object::Suite).await?;
        }
        Ok(views)
    }

    /// One token.
    pub async fn token(
        &self,
        who: &Principal,
        request: TokenNameRequest,
    ) -> Result<TokenView, ServerError> {
        let verb = "see a token of";
        let Some((token, task)) = self.token_with_task(&request.name).await? else {
            self.may_see(who, Right::View, verb, Object::Suite).await?;
            return Err(ServerError::not_found("token", request.name));
        };
        self.may_see(who, Right::View, verb, Object::task(&task.settings)).await?;
        Ok(view(token, task.settings.client))
    }

    async fn token_with_task(&self, name: &str) -> Result<Option<(Token, Task)>, ServerError> {
        let name = name.to_owned();
        self.house
            .books
            .run(move |catalog| {
                let token = catalog.tokens()?.into_iter().find(|token| token.name == name);
                let Some(token) = token else { return Ok(None) };
                let task = catalog.task(&token.task_name)?;
                Ok(Some((token, task)))
            })
            .await
    }

    /// Changes what a token allows, until when it is good, or both. Its secret stays, and streams that run go on.
    pub async fn change_token(
        &self,
        who: &Principal,
        request: ChangeTokenRequest,
    ) -> Result<TokenView, ServerError> {
        let verb = "token.change";
        if request.allow.is_none() && request.expires_days.is_none() {
            return Err(ServerError::invalid(
                "say what to change: what the token allows, or when it expires",
            ));
        }
        let Some((token, task)) = self.token_with_task(&request.name).await? else {
            self.may_see(who, Right::Administer, "change a token of", Object::Suite).await?;
            return Err(ServerError::not_found("token", request.name));
        };
        let object = Object::task(&task.settings);
        self.may_see(who, Right::Administer, "change a token of", object).await?;
        check_days(request.expires_days.unwrap_or(0))?;
        if token.revoked_unix_ms.is_some() {
            return Err(ServerError::Refused(format!(
                "token '{}' was revoked, and that is for good: make another one",
                token.name
            )));
        }
        let allows = request.allow.unwrap_or(token.allows);
        let (expires_unix_ms, days) = match request.expires_days {
            None => (token.expires_unix_ms, String::new()),
            Some(days) => (expiry(days), format!(", {}", in_days(days))),
        };
        // Whoever has it reads what the task saved, wherever they are.
        let later = is_later(token.expires_unix_ms, expires_unix_ms);
        if allows.may_read() && (later || !token.allows.may_read()) {
            let verb = "let a token read data of";
            self.may_see(who, Right::RestoreToOther, verb, object).await?;
        }
        let detail = format!("'{}', {}{days}", token.name, allows.as_str());
        self.may_do(who, Right::Administer, verb, object, detail).await?;
        let change = move |catalog: &Catalog| catalog.change_token(&token, allows, expires_unix_ms);
        let changed = self.house.books.run(change).await?.ok_or_else(|| {
            ServerError::Busy(format!(
                "token '{}' was changed just now: look at it again",
                request.name
            ))
        })?;
        Ok(view(changed, task.settings.client))
    }

    /// Takes a token's right, now: streams that run with it are ended.
    pub async fn revoke_token(
        &self,
        who: &Principal,
        request: TokenNameRequest,
    ) -> Result<TokenView, ServerError> {
        let Some((_, task)) = self.token_with_task(&request.name).await? else {
            self.may_see(who, Right::Administer, "revoke a token of", Object::Suite).await?;
            return Err(ServerError::not_found("token", request.name));
        };
        let object = Object::task(&task.settings);
        self.may_do(who, Right::Administer, "token.revoke", object, request.name.clone()).await?;
        let name = request.name.clone();
        let token =
            self.house.books.run(move |catalog| catalog.revoke_token(&name, now_unix_ms())).await?;
        let holder = format!("token:{}", request.name);
        let open = self
            .house
            .books
            .run(|catalog| {
                catalog.jobs(&JobFilter {
                    states: vec![JobState::Queued, JobState::Running],
                    ..JobFilter::default()
                })
            })
            .await?;
        for job in open.into_iter().filter(|job| job.requested_by == holder) {
            match streams::end_job(&self.house, job.number).await {
                // It has ended by itself meanwhile.
                Err(error) if error.kind() != Kind::Invalid => return Err(error),
                _ => {}
            }
        }
        Ok(view(token, task.settings.client))
    }

    /// Starts a job of an external task that waits for a stream, and makes the ticket for it.
    pub async fn start_stream(
        &self,
        who: &Principal,
        request: StartStreamRequest,
    ) -> Result<StartStreamReply, ServerError> {
        let name = request.task.clone();
        let task = self.house.books.run(move |catalog| catalog.task(&name)).await?;
        let object = Object::task(&task.settings);
        self.may_see(who, Right::Backup, "start a stream of", object).await?;
        let options = external_options(&task)?;
        let doors = own_doors(&self.house).await?;
        let detail = format!("task '{}'", request.task);
        self.may_do(who, Right::Backup, "stream.start", object, detail).await?;
        let (ticket, hash) = new_ticket()?;
        let minutes = i64::from(self.house.config.ticket_minutes);
        let expires_unix_ms = now_unix_ms().saturating_add(minutes * 60_000);
        let job = streams::queue(self, task, who.name().to_owned()).await?;
        self.house.streams.issue(job, hash, &request.task, expires_unix_ms);
        let (mut url, ftp_url) = urls(&doors, &request.task);
        let ticket = ticket.reveal().to_owned();
        let curl = format!("curl --cacert {AUTHORITY_FILE}");
        let ftp_command = match ftp_url.is_empty() {
            true => String::new(),
            false => format!("{curl} --ssl-reqd -u backup:{ticket} -T - {ftp_url}"),
        };
        let command = match url.is_empty() {
            true => ftp_command.clone(),
            false => {
                url = format!("{url}/{ticket}");
                let follow = match options.redirect {
                    true => " -L --expect100-timeout 60",
                    false => "",
                };
                format!("{curl} --fail-with-body{follow} -T - {url}")
            }
        };
        Ok(StartStreamReply { job, ticket, url, ftp_url, command, ftp_command, expires_unix_ms })
    }
}

fn check_days(days: u32) -> Result<(), ServerError> {
    if days > TOKEN_DAYS_MAX {
        return Err(ServerError::invalid(format!(
            "a token is good for at most {TOKEN_DAYS_MAX} days; 0 is for ever"
        )));
    }
    Ok(())
}

/// So many days from now; 0: never.
fn expiry(days: u32) -> Option<i64> {
    (days != 0).then(|| now_unix_ms().saturating_add(i64::from(days) * DAY_MS))
}

fn in_days(days: u32) -> String {
    match days {
        0 => "for ever".to_owned(),
        days => format!("{days} days"),
    }
}

/// Where streams of a task go, by HTTPS and by FTP; empty where there is no such door.
fn urls(doors: &OwnDoors, task: &str) -> (String, String) {
    let https = doors.https.as_ref().map(|base| format!("{base}/v1/streams/{task}"));
    let ftp = doors.ftp.as_ref().map(|base| format!("{base}/{task}"));
    (https.unwrap_or_default(), ftp.unwrap_or_default())
}

fn view(token: Token, client: String) -> TokenView {
    let state = match (token.revoked_unix_ms, token.is_expired(now_unix_ms())) {
        (Some(_), _) => "revoked",
        (None, true) => "expired",
        (None, false) => "valid",
    };
    TokenView {
        name: token.name,
        task: token.task_name,
        client,
        allow: token.allows,
        state: state.to_owned(),
        created_unix_ms: token.created_unix_ms,
        expires_unix_ms: token.expires_unix_ms,
        revoked_unix_ms: token.revoked_unix_ms,
        used_unix_ms: token.used_unix_ms,
    }
}
