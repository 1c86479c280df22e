use super::*;

/// A service whose cache lags behind its writes until the test says otherwise.
#[derive(Debug)]
struct Lagging {
    clock: SharedClock,
    progress: Arc<Progress>,
    caches: Mutex<BTreeMap<String, CacheWriter>>,
    writes: AtomicUsize,
}

/// The revision of every write to it.
const WRITTEN: Revision = Revision(5);

fn secret(name: &str) -> Arc<Entry> {
    let json = json!({"metadata": {"name": name, "namespace": "default", "uid": name}});
    Arc::new(Entry::read(Bytes::from(json.to_string()), WRITTEN, &IndexedFields::none()).unwrap())
}

impl Lagging {
    fn catch_up(&self, revision: Revision) {
        let update = (revision == WRITTEN).then(|| Update::Put(secret("child")));
        self.caches.lock().unwrap().get_mut("secrets").unwrap().apply(revision, update);
        self.progress.advance(revision);
    }
}

#[async_trait]
impl Service for Lagging {
    async fn call(&self, _: &User, _: Target, _: Operation) -> Result<Response, Status> {
        self.writes.fetch_add(1, Ordering::SeqCst);
        Ok(Response::new(Reply::Object(secret("child"))))
    }

    async fn watch(&self, _: &User, _: Target, _: WatchOptions) -> Result<WatchStream, Status> {
        Err(Status::internal("not here"))
    }

    async fn cache(&self, target: &Target) -> Result<Cache, Status> {
        let mut caches = self.caches.lock().unwrap();
        let new = || {
            let mut writer = CacheWriter::new(&IndexedFields::none(), Arc::clone(&self.progress));
            let objects = (&*target.resource == "configmaps").then(|| secret("parent"));
            writer.fill(objects, Revision(1));
            writer
        };
        let cache = caches.entry(target.resource.to_string()).or_insert_with(new).cache().clone();
        self.progress.advance(Revision(1));
        Ok(cache)
    }

    async fn kinds(&self) -> Result<Vec<Kind>, Status> {
        Ok(Vec::new())
    }

    fn clock(&self) -> &SharedClock {
        &self.clock
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_runs_for_an_object_before_its_own_writes_were_seen() {
    let service = Arc::new(Lagging {
        clock: TokioClock::simulated(1),
        progress: Progress::new(),
        caches: Mutex::default(),
        writes: AtomicUsize::new(0),
    });
    let client = Client::new(Arc::clone(&service) as Arc<dyn Service>, User::admin());
    // Creates a child if it sees none, and would like to look again soon.
    let reconcile = |context: Context| async move {
        let secrets = context.cache::<Secret>().await?;
        if !secrets.is_empty() {
            return Ok(Action::Done);
        }
        let child = serde_json::from_value(json!({"metadata": {"name": "child"}}))?;
        context.api::<Secret>().create(&child).await?;
        Ok::<_, Error>(Action::Again(Duration::from_secs(1)))
    };
    let controller = Controller::new::<ConfigMap>(client).owns::<Secret>();
    tokio::spawn(controller.run(reconcile, std::future::pending()));
    let writes = || service.writes.load(Ordering::SeqCst);
    for revision in 2..5 {
        tokio::time::sleep(Duration::from_secs(600)).await;
        assert_eq!(writes(), 1);
        service.catch_up(Revision(revision));
    }
    service.catch_up(WRITTEN);
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(writes(), 1, "the child was seen, so there is nothing to do");
}
