"""Fills the catalog of a server that does not run: TASKS tasks like 'home', SAVESETS savesets of them, JOBS jobs that ended.
Arguments: CATALOG TASKS SAVESETS JOBS [CLIENTS]"""
import hashlib, json, sqlite3, sys

file, (tasks, savesets, jobs, *more) = sys.argv[1], map(int, sys.argv[2:])
clients = more[0] if more else 0
db = sqlite3.connect(file)
db.row_factory = sqlite3.Row


def one(table, where):
    return dict(db.execute(f"SELECT * FROM {table} WHERE {where}").fetchone())


def put(table, rows):
    rows = list(rows)
    names = list(rows[0])
    marks = ", ".join("?" for _ in names)
    db.executemany(f"INSERT INTO {table} ({', '.join(names)}) VALUES ({marks})", (tuple(row[name] for name in names) for row in rows))


def last(name, value):
    db.execute("INSERT INTO counters VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET last_value = excluded.last_value", (name, value))


task, saveset = one("tasks", "name = 'home'"), one("savesets", "task_name = 'home'")
backup, job = one("backups", "1 = 1"), one("jobs", "kind = 'backup'")
result = one("results", "kind = 'backup'")
verified = one("jobs", "kind = 'verify'")
verdict = one("results", "kind = 'verify'")
first_task, first_job = task["task"] + 1, max(job["job"], verified["job"]) + 1
names = [f"home-{number}" for number in range(tasks)]
now = backup["stamped_unix_ms"]
put("tasks", ({**task, "task": first_task + n, "name": name} for n, name in enumerate(names)))


def id_of(number):
    return hashlib.sha256(str(number).encode()).digest()[:16]


put("savesets", ({**saveset, "saveset": id_of(n), "sequence": 1000 + n, "task_name": names[n % tasks]} for n in range(savesets)))
put("backups", (
    {**backup, "saveset": id_of(n), "number": 1000 + n, "stamped_unix_ms": now - (savesets - n) * 60_000} for n in range(savesets)
))


def ended(n):
    """Nine of ten are backups, one is a check of a single saveset."""
    at = now - (jobs - n) * 60_000
    of, row = (verified, verdict) if n % 10 == 0 else (job, result)
    name = "main" if n % 10 == 0 else names[n % tasks]
    fields = {"job": first_job + n, "task_name": name, "saveset": id_of(n % savesets), "started_unix_ms": at - 5000, "ended_unix_ms": at}
    return {**of, **fields, "task": None, "noticed": 1, "followed": 1}, {**row, **fields}


rows = [ended(n) for n in range(jobs)]
put("jobs", (row[0] for row in rows))
put("results", (row[1] for row in rows))
if clients:
    client = one("clients", "1 = 1 ORDER BY client")
    first = db.execute("SELECT MAX(client) FROM clients").fetchone()[0] + 1
    unique = {"fingerprint", "host_key", "public_key", "key"}
    rows = []
    for n in range(clients):
        row = {**client, "client": first + n, "name": f"client-{n}"}
        # One of fifty is a device host; nobody listens at these addresses.
        row["roles"] = json.dumps(["client", "device"] if n % 50 == 0 else ["client"])
        row["addresses"] = json.dumps([f"127.{1 + n // 250}.0.{1 + n % 250}"])
        for name, value in row.items():
            if name in unique and isinstance(value, bytes):
                row[name] = hashlib.sha256(f"{name} {n}".encode()).digest()[:len(value)].ljust(len(value), b"0")
        rows.append(row)
    put("clients", rows)
    last("client", first + clients)
last("task", first_task + tasks)
last("job", first_job + jobs)
last("backup", 1000 + savesets)
db.commit()
