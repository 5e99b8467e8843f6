//! Lists by what somebody asks for. Each takes what the whole list shows to whoever asks, and leaves out what does not
//! fit: nobody sees more by asking for less.

use std::collections::{HashMap, HashSet};

use simsim_catalog::DEFAULT_POOL;
use simsim_schedule::EventKind;
use simsim_search::Pattern;

use crate::api::{
    ApiTokenListRequest, ApiTokenView, CalendarView, ClientListRequest, ClientView,
    CommandListRequest, CommandView, DatastoreListRequest, DatastoreView, EventListRequest,
    EventView, LocationListRequest, LocationView, NameListRequest, NotificationListRequest,
    NotificationView, PoolView, ScheduleView, TaskGroupListRequest, TaskGroupView, TaskListRequest,
    TaskView, TokenListRequest, TokenView, UserListRequest, UserView,
};
use crate::rights::{Object, Principal, Right};
use crate::{Server, ServerError};

/// The names that are asked for.
struct Names(Option<Pattern>);

impl Names {
    fn of(text: Option<&str>) -> Result<Self, ServerError> {
        let invalid = |error: simsim_search::SearchError| ServerError::invalid(error.to_string());
        let pattern = text.map(|text| Pattern::new(text, true).map_err(invalid)).transpose()?;
        Ok(Self(pattern))
    }

    fn fit(&self, name: &str) -> bool {
        self.0.as_ref().is_none_or(|pattern| pattern.fits(b"", name.as_bytes()))
    }
}

/// Whether something is as it is asked for.
fn is<T: PartialEq>(wanted: Option<T>, there: T) -> bool {
    wanted.is_none_or(|wanted| wanted == there)
}

/// Whether a list has the one that is asked for.
fn has(list: &[String], wanted: Option<&str>) -> bool {
    wanted.is_none_or(|wanted| list.iter().any(|one| one == wanted))
}

/// Whether a notification tells of it: those that name nothing tell of all.
fn tells(list: &[String], wanted: Option<&str>) -> bool {
    list.is_empty() || has(list, wanted)
}

impl Server {
    /// The clients that the caller may see and that fit, by name.
    pub async fn list_clients(
        &self,
        who: &Principal,
        request: ClientListRequest,
    ) -> Result<Vec<ClientView>, ServerError> {
        let names = Names::of(request.name.as_deref())?;
        let mut views = self.clients(who).await?;
        // Which locations are within others is for who sees the suite; others see where each client stands.
        if let Some(location) = request.location.clone()
            && who.may(Right::View, Object::Suite)
        {
            let within: HashSet<String> = self
                .house
                .books
                .run(move |catalog| {
                    catalog.location(&location)?;
                    Ok(catalog.client_places()?.remove(&location).unwrap_or_default())
                })
                .await?
                .into_iter()
                .collect();
            views.retain(|view| within.contains(&view.name));
        } else if request.location.is_some() {
            views.retain(|view| view.location == request.location);
        }
        views.retain(|view| {
            names.fit(&view.name)
                && is(request.state.map(|state| state.as_str()), view.state.as_str())
                && is(request.access_mode, view.access_mode)
                && is(request.connected, view.connected)
        });
        Ok(views)
    }

    /// The datastores that fit, by name. Only their devices are asked.
    pub async fn list_datastores(
        &self,
        who: &Principal,
        request: DatastoreListRequest,
    ) -> Result<Vec<DatastoreView>, ServerError> {
        let names = Names::of(request.name.as_deref())?;
        let hosts: HashMap<_, _> = match &request.node {
            None => HashMap::new(),
            Some(_) => {
                let clients = self.house.books.run(|catalog| catalog.clients()).await?;
                clients.into_iter().map(|client| (client.id, client.name)).collect()
            }
        };
        self.datastores_that(who, |datastore| {
            let host = hosts.get(&datastore.device).map(String::as_str).unwrap_or_default();
            names.fit(&datastore.name) && is(request.node.as_deref(), host)
        })
        .await
    }

    /// The locations that fit, by name.
    pub async fn list_locations(
        &self,
        who: &Principal,
        request: LocationListRequest,
    ) -> Result<Vec<LocationView>, ServerError> {
        let names = Names::of(request.name.as_deref())?;
        let mut views = self.locations(who).await?;
        views.retain(|view| {
            let is_in = request.parent.is_none() || view.parent == request.parent;
            names.fit(&view.name) && is_in
        });
        Ok(views)
    }

    /// The commands that the caller may see and that fit, by name.
    pub async fn list_commands(
        &self,
        who: &Principal,
        request: CommandListRequest,
    ) -> Result<Vec<CommandView>, ServerError> {
        let names = Names::of(request.name.as_deref())?;
        let mut views = self.commands(who).await?;
        views.retain(|view| {
            names.fit(&view.name) && is(request.client.as_deref(), view.client.as_str())
        });
        Ok(views)
    }

    /// The notifications that fit, by name.
    pub async fn list_notifications(
        &self,
        who: &Principal,
        request: NotificationListRequest,
    ) -> Result<Vec<NotificationView>, ServerError> {
        let names = Names::of(request.name.as_deref())?;
        let mut views = self.notifications(who).await?;
        let mut client_of_task = None;
        if let Some(task) = request.task.clone() {
            let tasks = self.house.books.run(|catalog| catalog.tasks()).await?;
            let found = tasks.into_iter().find(|one| one.settings.name == task);
            client_of_task = found.map(|one| one.settings.client);
        }
        views.retain(|view| {
            names.fit(&view.name)
                && is(request.enabled, view.enabled)
                && tells(&view.tasks, request.task.as_deref())
                && tells(&view.clients, client_of_task.as_deref())
                && tells(&view.clients, request.client.as_deref())
        });
        Ok(views)
    }

    /// The calendars that fit, by name.
    pub async fn list_calendars(
        &self,
        who: &Principal,
        request: NameListRequest,
    ) -> Result<Vec<CalendarView>, ServerError> {
        let names = Names::of(request.name.as_deref())?;
        let mut views = self.calendars(who).await?;
        views.retain(|view| names.fit(&view.name));
        Ok(views)
    }

    /// The schedules that fit, by name.
    pub async fn list_schedules(
        &self,
        who: &Principal,
        request: NameListRequest,
    ) -> Result<Vec<ScheduleView>, ServerError> {
        let names = Names::of(request.name.as_deref())?;
        let mut views = self.schedules(who).await?;
        views.retain(|view| names.fit(&view.name));
        Ok(views)
    }

    /// The media pools that fit, by name.
    pub async fn list_pools(
        &self,
        who: &Principal,
        request: NameListRequest,
    ) -> Result<Vec<PoolView>, ServerError> {
        let names = Names::of(request.name.as_deref())?;
        let mut views = self.pools(who).await?;
        views.retain(|view| names.fit(&view.name));
        Ok(views)
    }

    /// The task groups that fit, by name.
    pub async fn list_task_groups(
        &self,
        who: &Principal,
        request: TaskGroupListRequest,
    ) -> Result<Vec<TaskGroupView>, ServerError> {
        let names = Names::of(request.name.as_deref())?;
        let mut views = self.task_groups(who).await?;
        views.retain(|view| names.fit(&view.name) && has(&view.tasks, request.task.as_deref()));
        Ok(views)
    }

    /// The tasks that the caller may see and that fit, by name.
    pub async fn list_tasks(
        &self,
        who: &Principal,
        request: TaskListRequest,
    ) -> Result<Vec<TaskView>, ServerError> {
        let names = Names::of(request.name.as_deref())?;
        let mut group: Option<HashSet<String>> = None;
        if let Some(name) = request.task_group.clone() {
            self.may_see(who, Right::View, "see a task group", Object::Suite).await?;
            let of_group = self.house.books.run(move |catalog| catalog.task_group(&name)).await?;
            group = Some(of_group.tasks.into_iter().collect());
        }
        let mut views = self
            .tasks_that(who, |task| {
                names.fit(&task.name)
                    && group.as_ref().is_none_or(|group| group.contains(&task.name))
                    && is(request.client.as_deref(), task.client.as_str())
                    && is(request.kind, task.kind)
                    && is(request.pool.as_deref(), task.pool.as_deref().unwrap_or(DEFAULT_POOL))
            })
            .await?;
        views.retain(|view| {
            is(request.datastore.as_deref(), view.datastore.as_str())
                && is(request.green, view.health.green)
        });
        Ok(views)
    }

    /// The events that fit, by name.
    pub async fn list_events(
        &self,
        who: &Principal,
        request: EventListRequest,
    ) -> Result<Vec<EventView>, ServerError> {
        let names = Names::of(request.name.as_deref())?;
        let mut views = self.events(who).await?;
        views.retain(|view| {
            let of_tasks = matches!(
                view.kind,
                EventKind::Backup | EventKind::RestoreDrill | EventKind::Verification
            );
            names.fit(&view.name)
                && is(request.kind, view.kind)
                && (request.schedule.is_none() || view.schedule == request.schedule)
                && is(request.enabled, view.enabled)
                && (request.task.is_none() || of_tasks)
                && has(&view.acts_on, request.task.as_deref())
        });
        Ok(views)
    }

    /// The users who fit, by name.
    pub async fn list_users(
        &self,
        who: &Principal,
        request: UserListRequest,
    ) -> Result<Vec<UserView>, ServerError> {
        let names = Names::of(request.name.as_deref())?;
        let mut views = self.users(who).await?;
        views.retain(|view| {
            let role = request.role;
            names.fit(&view.name)
                && is(request.disabled, view.disabled)
                && (role.is_none() || view.grants.iter().any(|grant| grant.role == role))
        });
        Ok(views)
    }

    /// The API tokens that fit, by name.
    pub async fn list_api_tokens(
        &self,
        who: &Principal,
        request: ApiTokenListRequest,
    ) -> Result<Vec<ApiTokenView>, ServerError> {
        let names = Names::of(request.name.as_deref())?;
        let mut views = self.api_tokens(who).await?;
        views.retain(|view| {
            names.fit(&view.name)
                && (request.user.is_none() || view.user == request.user)
                && is(request.state.map(|state| state.as_str()), view.state.as_str())
        });
        Ok(views)
    }

    /// The access tokens that the caller may see and that fit, by name.
    pub async fn list_tokens(
        &self,
        who: &Principal,
        request: TokenListRequest,
    ) -> Result<Vec<TokenView>, ServerError> {
        let names = Names::of(request.name.as_deref())?;
        let mut views = self.tokens(who).await?;
        views.retain(|view| {
            names.fit(&view.name)
                && is(request.task.as_deref(), view.task.as_str())
                && is(request.client.as_deref(), view.client.as_str())
                && is(request.state.map(|state| state.as_str()), view.state.as_str())
        });
        Ok(views)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_part_or_a_pattern_without_case() {
        let fit = |text: &str, name: &str| Names::of(Some(text)).unwrap().fit(name);
        assert!(fit("web", "a-Web-1") && fit("web*", "WEB-1") && fit("*-{1,2}", "web-2"));
        assert!(!fit("web*", "a-web-1") && !fit("mail", "web-1"));
        assert!(Names::of(None).unwrap().fit("anything"));
        for wrong in ["", "[a"] {
            let error = Names::of(Some(wrong)).err().unwrap();
            assert!(error.to_string().contains("pattern"), "{error}");
        }
    }

    #[test]
    fn a_notification_that_names_nothing_tells_of_all() {
        let names = ["home".to_owned()];
        assert!(tells(&[], Some("mail")) && tells(&names, Some("home")) && tells(&names, None));
        assert!(!tells(&names, Some("mail")) && !has(&[], Some("mail")));
    }
}
