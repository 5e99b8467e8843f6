//! Every metric, by name. `docs/reference/metrics.md` has a row for each, and a test holds it to this list.

/// What a figure is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Type {
    /// As it is now.
    Gauge,
    /// A sum that only grows.
    Counter,
    /// Labels alone.
    Info,
}

/// One metric.
#[derive(Debug)]
pub(crate) struct Family {
    /// Without the ending that its samples have.
    pub name: &'static str,
    pub kind: Type,
    pub labels: &'static [&'static str],
    pub help: &'static str,
}

impl Family {
    /// The name of its samples.
    pub(crate) fn sample_name(&self) -> String {
        let ending = match self.kind {
            Type::Gauge => "",
            Type::Counter => "_total",
            Type::Info => "_info",
        };
        format!("{}{ending}", self.name)
    }

    pub(crate) fn unit(&self) -> Option<&'static str> {
        ["seconds", "bytes", "ratio"]
            .into_iter()
            .find(|unit| self.name.strip_suffix(unit).is_some_and(|before| before.ends_with('_')))
    }
}

macro_rules! families {
    ($($(#[doc = $help:literal])+ $id:ident: $kind:ident $name:literal [$($label:literal)*];)*) => {
        $(pub(super) static $id: Family = Family {
            name: $name,
            kind: Type::$kind,
            labels: &[$($label),*],
            help: concat!($($help),+).trim_ascii(),
        };)*
        /// All of them, in the order of the page.
        pub(crate) static ALL: &[&Family] = &[$(&$id),*];
    };
}

families! {
    /// The version of the suite that runs.
    BUILD: Info "simsim_build" ["version"];
    /// When the server started, in seconds since 1970.
    START_TIME: Gauge "simsim_start_time_seconds" [];
    /// 1: this part of the server does what it should; as /health/ready says.
    PART_READY: Gauge "simsim_part_ready" ["part"];
    /// 1: the server reaches this host now.
    HOST_CONNECTED: Gauge "simsim_host_connected" ["host"];
    /// Jobs that ended, since the catalog was made.
    JOBS_ENDED: Counter "simsim_jobs_ended" ["kind" "outcome"];
    /// Problems that jobs met.
    JOBS_PROBLEMS: Counter "simsim_jobs_problems" ["kind"];
    /// Bytes that jobs read or wrote.
    JOBS_READ: Counter "simsim_jobs_read_bytes" ["kind"];
    /// Of these, bytes that no datastore had yet.
    JOBS_NEW: Counter "simsim_jobs_new_bytes" ["kind"];
    /// Bytes that jobs sent over the network.
    JOBS_WIRE: Counter "simsim_jobs_wire_bytes" ["kind"];
    /// Jobs that run now.
    JOBS_RUNNING: Gauge "simsim_jobs_running" ["kind"];
    /// Jobs that wait in the queue, held ones too.
    JOBS_QUEUED: Gauge "simsim_jobs_queued" ["kind"];
    /// Jobs that somebody holds.
    JOBS_HELD: Gauge "simsim_jobs_held" [];
    /// For how long the oldest job waits that nobody holds; 0: none does.
    QUEUE_OLDEST: Gauge "simsim_queue_oldest_seconds" [];
    /// 1: the queue is paused, and nothing starts.
    QUEUE_PAUSED: Gauge "simsim_queue_paused" [];
    /// Events whose newest occurrence for a subject was missed or refused.
    EVENTS_NOT_RUN: Gauge "simsim_events_not_run" [];
    /// 1: nothing that is asked of the task is missing.
    TASK_GREEN: Gauge "simsim_task_green" ["task" "client"];
    /// 1: it is not green for longer than it may be.
    TASK_OVERDUE: Gauge "simsim_task_overdue" ["task" "client"];
    /// 1: the task has a good one that is young enough, of each aspect that is asked for.
    TASK_GOOD: Gauge "simsim_task_aspect_good" ["task" "client" "aspect"];
    /// How long ago the last good one was; +Inf: there never was one.
    TASK_AGE: Gauge "simsim_task_aspect_age_seconds" ["task" "client" "aspect"];
    /// How long ago the newest backup of the server itself was made; +Inf: never.
    SELF_BACKUP_AGE: Gauge "simsim_self_backup_age_seconds" [];
    /// 1: somebody has shown that the recovery kit was kept.
    KIT_PROVEN: Gauge "simsim_recovery_kit_proven" [];
    /// 1: the datastore is in service.
    STORE_ACTIVE: Gauge "simsim_datastore_in_service" ["datastore"];
    /// 1: its device answers. Without it there are no figures of the device.
    STORE_REACHED: Gauge "simsim_datastore_reached" ["datastore"];
    /// The room of its file system.
    STORE_CAPACITY: Gauge "simsim_datastore_capacity_bytes" ["datastore"];
    /// What is free of it.
    STORE_FREE: Gauge "simsim_datastore_free_bytes" ["datastore"];
    /// What its packs take.
    STORE_STORED: Gauge "simsim_datastore_stored_bytes" ["datastore"];
    /// What its savesets would take without deduplication and compression.
    STORE_SAVED: Gauge "simsim_datastore_saved_bytes" ["datastore"];
    /// Saved by stored bytes.
    STORE_DEDUP: Gauge "simsim_datastore_dedup_ratio" ["datastore"];
    /// What backups of the last seven days put there.
    STORE_WEEK: Gauge "simsim_datastore_put_in_week_bytes" ["datastore"];
    /// When it is full if it goes on like in the last seven days; +Inf: it does not grow.
    STORE_FULL: Gauge "simsim_datastore_full_in_seconds" ["datastore"];
    /// Savesets and copies of savesets that lie there.
    STORE_SAVESETS: Gauge "simsim_datastore_savesets" ["datastore"];
    /// Chunks that it knows.
    STORE_CHUNKS: Gauge "simsim_datastore_chunks" ["datastore"];
    /// How long ago a garbage collection ended as finished; +Inf: never.
    STORE_COLLECTED: Gauge "simsim_datastore_collected_age_seconds" ["datastore"];
    /// How long ago a verification of all of it ended as finished; +Inf: never.
    STORE_VERIFIED: Gauge "simsim_datastore_verified_age_seconds" ["datastore"];
    /// Savesets that are still to be copied.
    REPLICATION_WAITING: Gauge "simsim_replication_waiting_savesets" ["replication"];
    /// How old the oldest of them is; 0: none is.
    REPLICATION_LAG: Gauge "simsim_replication_lag_seconds" ["replication"];
    /// Messages that wait for somebody to take them.
    NOTICES_WAITING: Gauge "simsim_notification_waiting_messages" ["notification"];
    /// For how long the oldest of them waits; 0: none does.
    NOTICES_OLDEST: Gauge "simsim_notification_oldest_seconds" ["notification"];
    /// What it said is missing and has not taken back.
    NOTICES_ABSENT: Gauge "simsim_notification_missing" ["notification"];
    /// Acts that wait for a second person.
    APPROVALS: Gauge "simsim_approvals_waiting" [];
    /// 1: the server's clock is in doubt, and nothing expires.
    CLOCK_DOUBT: Gauge "simsim_clock_in_doubt" [];
    /// Rows of the audit log: the position of its end.
    AUDIT_ROWS: Counter "simsim_audit_rows" [];
    /// The end of the audit log that was kept beside the catalog last.
    AUDIT_KEPT: Gauge "simsim_audit_kept_row" [];
    /// When the certificate runs out that a host shows to other people's tools, in seconds since 1970.
    CERTIFICATE: Gauge "simsim_certificate_expiry_timestamp_seconds" ["host"];
    /// Savesets that the search index lacks, as of its last look.
    SEARCH_WAITING: Gauge "simsim_search_waiting_savesets" [];
    /// How old the figures of tasks, datastores and replications are.
    LOOKED: Gauge "simsim_figures_age_seconds" [];
}
