package apikey

import (
	"context"
	"errors"
	"fmt"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/budget"
)

// Project gives a project; one that nobody has set anything of has the zero
// settings.
func (k *Keys) Project(ctx context.Context, id string) (Project, error) {
	project, err := k.store.Project(ctx, id)
	if err != nil {
		return Project{}, fmt.Errorf("find project: %w", err)
	}
	return project, nil
}

// KnownProject gives a project that has settings or keys. For any other id it is an
// apierror.BadRequest, around ErrNotFound where the id could be a project's.
func (k *Keys) KnownProject(ctx context.Context, id string) (Project, error) {
	if err := CheckProjectID(id); err != nil {
		return Project{}, err
	}
	projects, err := k.Projects(ctx)
	if err != nil {
		return Project{}, err
	}
	for _, project := range projects {
		if project.ID == id {
			return project, nil
		}
	}
	return Project{}, &apierror.Error{
		Category: apierror.BadRequest, Code: apierror.CodeNotFound, Param: "project_id", Message: "no such project", Cause: ErrNotFound,
	}
}

// Projects gives every project that has settings or keys, by id.
func (k *Keys) Projects(ctx context.Context) ([]Project, error) {
	projects, err := k.store.ListProjects(ctx)
	if err != nil {
		return nil, fmt.Errorf("list projects: %w", err)
	}
	return projects, nil
}

// SetProject sets a project's settings. The time zone can't be changed any more
// once the project has spent something.
func (k *Keys) SetProject(ctx context.Context, project Project) error {
	err := CheckProjectID(project.ID)
	if err == nil {
		err = checkLimits(project.Limits)
	}
	if err == nil {
		project.TimeZone, err = checkTimeZone(project.TimeZone)
	}
	if err != nil {
		return err
	}
	switch err := k.store.PutProject(ctx, project); {
	case errors.Is(err, ErrSpent):
		e := apierror.Invalid("time_zone", "time_zone: the project has spent something in its present time zone; the periods of its budgets would begin elsewhere")
		e.Cause = err
		return e
	case err != nil:
		return fmt.Errorf("set project: %w", err)
	}
	return k.tell(ctx, Change{actionProjectSet, project.ID, project.ID, project.words()})
}

// Profile finds a profile, a built-in or a custom one. One that doesn't exist is
// an apierror.BadRequest around ErrNotFound.
func (k *Keys) Profile(ctx context.Context, name string) (Profile, error) {
	if profile, ok := builtIn(name); ok {
		return profile, nil
	}
	custom, err := k.store.ListProfiles(ctx)
	if err != nil {
		return Profile{}, fmt.Errorf("find profile: %w", err)
	}
	for _, profile := range custom {
		if profile.Name == name {
			return profile, nil
		}
	}
	return Profile{}, noSuchProfile(ErrNotFound)
}

// Profiles gives the built-in profiles and then the custom ones, by name.
func (k *Keys) Profiles(ctx context.Context) ([]Profile, error) {
	custom, err := k.store.ListProfiles(ctx)
	if err != nil {
		return nil, fmt.Errorf("list profiles: %w", err)
	}
	return append(BuiltIn(), custom...), nil
}

// SetProfile makes or changes a custom profile. Its name is 1 to 32 of a-z 0-9 -.
func (k *Keys) SetProfile(ctx context.Context, profile Profile) error {
	err := checkProfileName(profile.Name)
	if err == nil {
		err = checkPermissions(profile.Permissions)
	}
	if err != nil {
		return err
	}
	if err := k.store.PutProfile(ctx, profile); err != nil {
		return fmt.Errorf("set profile: %w", err)
	}
	return k.tell(ctx, Change{Action: actionProfileSet, Target: profile.Name, Detail: string(FormatPermissions(profile.Permissions))})
}

// DeleteProfile removes a custom profile that no key has, revoked ones excepted.
func (k *Keys) DeleteProfile(ctx context.Context, name string) error {
	if err := checkProfileName(name); err != nil {
		return err
	}
	switch err := k.store.DeleteProfile(ctx, name); {
	case errors.Is(err, ErrInUse):
		e := apierror.Invalid("name", "name: keys have the profile %s; give them another one, or revoke them", name)
		e.Cause = err
		return e
	case errors.Is(err, ErrNotFound):
		return noSuchProfile(err)
	case err != nil:
		return fmt.Errorf("delete profile: %w", err)
	}
	return k.tell(ctx, Change{Action: actionProfileDeleted, Target: name})
}

func noSuchProfile(cause error) error {
	return &apierror.Error{Category: apierror.BadRequest, Code: apierror.CodeNotFound, Param: "profile", Message: "no such profile", Cause: cause}
}

// SetBudget sets a budget of a key, by its id, or of a project that has settings or
// keys. One without a limit is removed.
func (k *Keys) SetBudget(ctx context.Context, limit budget.Limit) error {
	if err := checkBudget(limit); err != nil {
		return err
	}
	project := limit.Owner.ID
	if limit.Owner.Kind == budget.Project {
		err := CheckProjectID(limit.Owner.ID)
		if err == nil && (limit.Hard != 0 || limit.Soft != 0) {
			_, err = k.KnownProject(ctx, limit.Owner.ID)
		}
		if err != nil {
			return err
		}
	} else {
		key, err := k.find(ctx, limit.Owner.ID)
		switch {
		case err != nil:
			return err
		case key.ID != limit.Owner.ID:
			return noSuchKey() // a prefix or a text isn't an id
		case key.Admin:
			return apierror.Invalid("key", "key: an admin key generates nothing and has no budgets")
		}
		project = key.ProjectID
	}
	if err := k.store.SetBudget(ctx, limit); err != nil {
		return fmt.Errorf("set budget: %w", err)
	}
	return k.tell(ctx, budgetChange(limit, project))
}

// Budgets gives the budgets of a key or a project, the shortest period first.
func (k *Keys) Budgets(ctx context.Context, owner budget.Owner) ([]budget.Limit, error) {
	budgets, err := k.store.Budgets(ctx, owner)
	if err != nil {
		return nil, fmt.Errorf("find budgets: %w", err)
	}
	sortBudgets(budgets)
	return budgets, nil
}

// ListBudgets gives every budget: those of keys before those of projects, by
// owner, the shortest period first.
func (k *Keys) ListBudgets(ctx context.Context) ([]budget.Limit, error) {
	budgets, err := k.store.ListBudgets(ctx)
	if err != nil {
		return nil, fmt.Errorf("list budgets: %w", err)
	}
	sortBudgets(budgets)
	return budgets, nil
}
