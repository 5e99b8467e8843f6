//! A whole suite in one folder: the Server with its own host, and what the tests ask of it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use simsim_control::{Hello, Identity, JoinCode, join, verbs::Roles};
use simsim_model::{Level, Outcome, TargetKind};
use simsim_server::api::*;
use simsim_server::{Principal, Server, ServerConfig, ServerError, StartOptions, open_identity};
use tempfile::TempDir;

use crate::hosts::{Host, timing};

pub struct Suite {
    pub folder: TempDir,
    pub host: Host,
    pub server: Option<Server>,
    config: ServerConfig,
}

pub fn root() -> Principal {
    Principal::local_root()
}

/// A job may take so long on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

impl Suite {
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    /// With another configuration.
    pub async fn start_with(change: impl FnOnce(&mut ServerConfig)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let identity = open_identity(&folder.path().join("state")).unwrap();
        let key = identity.public();
        let host = Host::start("vault", folder.path(), identity, true, Some(key)).await;
        let mut config = ServerConfig {
            name: "vault".to_owned(),
            advertise: vec!["127.0.0.1".to_owned()],
            control_port: host.control.port(),
            silent_grace_s: 2,
            // Nothing is read here but what a test reads.
            search_interval_s: 0,
            ..ServerConfig::default()
        };
        change(&mut config);
        let mut suite = Self { folder, host, server: None, config };
        suite.start_server().await.unwrap();
        suite
    }

    /// With a datastore "main" and its drive 1.
    pub async fn with_datastore() -> Self {
        let suite = Self::start().await;
        suite.create_datastore("main", Some(4)).await;
        suite
    }

    pub async fn create_datastore(&self, name: &str, jobs_max: Option<u32>) -> DatastoreView {
        self.server()
            .create_datastore(
                &root(),
                CreateDatastoreRequest {
                    name: name.to_owned(),
                    node: None,
                    path: self.folder.path().join(format!("store-{name}")).display().to_string(),
                    drive: None,
                    jobs_max,
                    cut: None,
                },
            )
            .await
            .unwrap()
    }

    pub fn server(&self) -> &Server {
        self.server.as_ref().unwrap()
    }

    pub fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    /// Starts the Server, and waits for an earlier one to let go of the catalog.
    pub async fn start_server(&mut self) -> Result<(), ServerError> {
        let mut tries = 0;
        let server = loop {
            let options = StartOptions {
                state: self.state(),
                config: self.config.clone(),
                settings_file: None,
                dial_self: vec![self.host.control.to_string()],
                dial_self_ctrl: Vec::new(),
                called_at: Some(1),
                timing: timing(),
                data_ports: simsim_transfer::DataPorts::any(2),
            };
            match Server::start(options).await {
                Err(error) if error.kind() == simsim_model::Kind::Busy && tries < 200 => {
                    tries += 1;
                    tokio::time::sleep(Duration::from_millis(25)).await;
                }
                other => break other?,
            }
        };
        *self.host.desk.server.lock().unwrap() = Some(server.clone());
        self.server = Some(server);
        Ok(())
    }

    pub async fn stop_server(&mut self) {
        *self.host.desk.server.lock().unwrap() = None;
        if let Some(server) = self.server.take() {
            server.stop().await;
        }
    }

    /// Another host, joined under `name` with a code for that name.
    pub async fn join_host(&self, name: &str, with_device: bool) -> Host {
        let host = self.new_host(name, with_device).await;
        let request = JoinCodeRequest { name: Some(name.to_owned()), outbound: false };
        let code = self.server().create_join_code(&root(), request).await.unwrap().code;
        self.join_with(&host, name, &code).await.unwrap();
        host
    }

    pub async fn new_host(&self, name: &str, with_device: bool) -> Host {
        let key = self.server().identity().public();
        Host::start(name, self.folder.path(), Identity::generate(), with_device, Some(key)).await
    }

    pub async fn join_with(
        &self,
        host: &Host,
        name: &str,
        code: &str,
    ) -> Result<join::Joined, simsim_control::ControlError> {
        let joiner = join::Joiner {
            identity: &host.identity,
            hello: Hello::new(name, Roles::CLIENT),
            name,
            listen_port: host.control.port(),
            platform: "test",
            outbound: false,
        };
        let code = JoinCode::parse(code).unwrap();
        join::join(&[self.host.control.to_string()], &code, &joiner, timing()).await
    }

    /// A task of paths on `client`.
    pub async fn add_task(&self, name: &str, client: &str, source: &Path) -> TaskView {
        self.server().add_task(&root(), task(name, client, source)).await.unwrap()
    }

    /// A task that runs the command of the same name in the owner's policy.
    pub async fn add_stream_task(&self, name: &str, client: &str) -> TaskView {
        let mut request = task(name, client, Path::new("dump"));
        request.kind = TargetKind::Stream;
        request.options.stream_command = Some(name.to_owned());
        self.server().add_task(&root(), request).await.unwrap()
    }

    pub async fn run(&self, task: &str, level: Level) -> u64 {
        let request = RunTaskRequest { task: task.to_owned(), level };
        self.server().run_task(&root(), request).await.unwrap().job
    }

    /// Runs a task to its end.
    pub async fn backup(&self, task: &str, level: Level) -> JobView {
        let job = self.run(task, level).await;
        self.ended(job).await
    }

    /// Runs a task to a good end and answers the saveset's id.
    pub async fn saved(&self, task: &str, level: Level) -> String {
        let job = self.backup(task, level).await;
        assert_eq!(job.state.outcome(), Some(Outcome::Finished), "{job:#?}");
        job.saveset.unwrap().to_string()
    }

    /// Waits for a job's end.
    pub async fn ended(&self, job: u64) -> JobView {
        let follow = async {
            let mut follower = self.server().follow_job(&root(), JobRequest { job }).await.unwrap();
            while follower.next().await.is_some() {}
        };
        tokio::time::timeout(PATIENCE, follow)
            .await
            .unwrap_or_else(|_| panic!("job {job} did not end in time"));
        self.job(job).await.job
    }

    pub async fn job(&self, job: u64) -> JobDetail {
        self.server().job(&root(), JobRequest { job }).await.unwrap()
    }

    pub async fn log_text(&self, job: u64) -> String {
        let request = LogRequest { job, from: 0, limit: 0 };
        let lines = self.server().job_log(&root(), request).await.unwrap().lines;
        lines.iter().map(|line| format!("{}\n", line.line)).collect()
    }

    /// Waits until a job is in this state.
    pub async fn until_state(&self, job: u64, state: &str) {
        until(&format!("job {job} is {state}"), || async {
            self.job(job).await.job.state.as_str() == state
        })
        .await;
    }

    pub async fn savesets(&self) -> Vec<SavesetView> {
        self.server().savesets(&root(), SavesetListRequest::default()).await.unwrap()
    }

    pub async fn restore(&self, request: RestoreRequest) -> JobView {
        let job = self.server().restore(&root(), request).await.unwrap().job;
        self.ended(job).await
    }

    /// A folder with a few files.
    pub fn tree(&self, name: &str) -> PathBuf {
        let tree = self.folder.path().join(name);
        std::fs::create_dir_all(tree.join("sub/deeper")).unwrap();
        std::fs::write(tree.join("hello.txt"), b"open sesame").unwrap();
        std::fs::write(tree.join("sub/large.bin"), noise(300_000)).unwrap();
        std::fs::write(tree.join("sub/deeper/empty"), b"").unwrap();
        std::os::unix::fs::symlink("hello.txt", tree.join("link")).unwrap();
        tree
    }
}

pub fn task(name: &str, client: &str, source: &Path) -> TaskRequest {
    TaskRequest {
        name: name.to_owned(),
        client: client.to_owned(),
        kind: TargetKind::Path,
        sources: vec![source.display().to_string()],
        excludes: Vec::new(),
        options: TaskOptions::default(),
        datastore: None,
        drive: None,
        drive_group: None,
        pool: None,
        eol_days: 0,
    }
}

pub async fn until<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let wait = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait)
        .await
        .unwrap_or_else(|_| panic!("it never came to be that {what}"));
}

pub fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x1234_5678_9abc_def1u64;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    })
    .take(length)
    .collect()
}
