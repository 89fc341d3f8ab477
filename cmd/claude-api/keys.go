package main

import (
	"context"
	"errors"
	"os"
	"slices"
	"time"

	"claude-code-api-service/internal/apikey"
	"claude-code-api-service/internal/app"
	"claude-code-api-service/internal/budget"
	"claude-code-api-service/internal/config"
	"claude-code-api-service/internal/gateway"
)

type keysCommand struct {
	Create      createKeyCommand      `cmd:"" help:"Create a key. Its text is shown once."`
	List        listKeysCommand       `cmd:"" help:"List keys."`
	Update      updateKeyCommand      `cmd:"" help:"Change a key's name, profile, limits or expiry."`
	Rotate      rotateKeyCommand      `cmd:"" help:"Give a key another text; the present one works on for a while."`
	Revoke      revokeKeyCommand      `cmd:"" help:"Revoke a key; the running service refuses it within a second."`
	Permissions permissionsKeyCommand `cmd:"" help:"What a key may do, its limits, its budgets and what is left of them."`
	Test        testKeyCommand        `cmd:"" help:"Say whether a key is valid; the exit code is 1 when it isn't."`
	Provision   provisionKeyCommand   `cmd:"" help:"Get the key of a name from its file in the data folder, or create it there."`
}

// keyLimits are the flags of a key's limits where it is made.
type keyLimits struct {
	RateLimit          int `help:"Requests per minute; 0: no limit." default:"100"`
	TokensPerMinute    int `help:"Tokens per minute; 0: no limit."`
	ConcurrentRequests int `help:"Requests at the same time; 0: no limit."`
}

type createKeyCommand struct {
	config.Data `embed:""`
	listOutput  `embed:""`
	ProjectID   string `required:"" help:"The project that the key belongs to."`
	Name        string `help:"A name for people."`
	Profile     string `help:"What the key allows: free, pro, enterprise or one of your own." default:"${default_profile}"`
	Admin       bool   `help:"Make a key that administers the service and generates nothing."`
	keyLimits   `embed:""`
	budgetFlags `embed:""`
	Expires     howLong `help:"When the key expires, from now, such as 30d or 12h; 0: never." placeholder:"DURATION"`
	Existing    bool    `help:"Take a key that callers have already, of the former service, from standard input; by default a new one is made."`
	Quiet       bool    `short:"q" help:"Print only the key, and no warning."`
}

func (c *createKeyCommand) Run() error {
	budgets, err := c.budgets()
	if err != nil {
		return err
	}
	budgets = slices.DeleteFunc(budgets, func(b budget.Limit) bool { return b.Hard == 0 })
	existing := ""
	if c.Existing {
		if existing, err = typedKey(); err != nil {
			return err
		}
		if existing == "" {
			return errors.New("read the key: standard input is empty")
		}
	}
	return withStore(&c.Data, func(ctx context.Context, s app.Store) error {
		text, key, err := newKeys(s).Create(ctx, apikey.Create{
			ProjectID: c.ProjectID, Name: c.Name, Profile: c.Profile, Admin: c.Admin, RequestsPerMinute: &c.RateLimit,
			TokensPerMinute: c.TokensPerMinute, ConcurrentRequests: c.ConcurrentRequests, Budgets: budgets, ExpiresAt: fromNow(c.Expires), Text: existing,
		})
		if err != nil {
			return err
		}
		if !c.Quiet {
			warnOfSmall(budgets)
		}
		return printKey(ctx, s, c.Quiet, c.Output, text, key)
	})
}

// fromNow gives the moment so far from now; nil for 0.
func fromNow(s howLong) *time.Time {
	if s == 0 {
		return nil
	}
	at := time.Now().Add(time.Duration(s))
	return &at
}

// printKey prints a key whose text is new, and its budgets.
func printKey(ctx context.Context, s app.Store, quiet bool, form, text string, key apikey.Key) error {
	if quiet {
		printf("%s\n", text)
		return nil
	}
	columns := append([]column[apikey.Key]{
		{name: "key", value: func(apikey.Key) any { return text }},
		{title: "Key", value: func(apikey.Key) any { return text + " (shown once: only its hash is kept)" }},
	}, keyFields()...)
	return printWithBudgets(ctx, s, form, columns, key, budget.Owner{Kind: budget.Key, ID: key.ID})
}

// keyFields are what is known of one key.
func keyFields() []column[apikey.Key] {
	return []column[apikey.Key]{
		{name: "id", title: "ID", value: func(k apikey.Key) any { return k.ID }},
		{name: "prefix", value: func(k apikey.Key) any { return k.Prefix }},
		{title: "Begins with", value: func(k apikey.Key) any { return k.Prefix + "…" }},
		{name: "name", title: "Name", value: func(k apikey.Key) any { return k.Name }},
		{name: "project_id", title: "Project", value: func(k apikey.Key) any { return k.ProjectID }},
		{name: "profile", title: "Profile", value: func(k apikey.Key) any { return k.Profile }},
		{name: "admin", title: "Admin", value: func(k apikey.Key) any { return k.Admin }},
		{name: "requests_per_minute", title: "Requests a minute", value: func(k apikey.Key) any { return limit(k.Limits.RequestsPerMinute) }},
		{name: "tokens_per_minute", title: "Tokens a minute", value: func(k apikey.Key) any { return limit(k.Limits.TokensPerMinute) }},
		{name: "concurrent_requests", title: "Requests at once", value: func(k apikey.Key) any { return limit(k.Limits.ConcurrentRequests) }},
		{name: "created_at", title: "Created", value: func(k apikey.Key) any { return k.CreatedAt }},
		{name: "expires_at", title: "Expires", value: func(k apikey.Key) any { return optional(k.ExpiresAt) }},
		{name: "former_until", title: "Former text until", value: func(k apikey.Key) any { return optional(k.FormerUntil) }},
		{name: "revoked_at", title: "Revoked", value: func(k apikey.Key) any { return optional(k.RevokedAt) }},
		{name: "state", title: "State", value: func(k apikey.Key) any { return state(k, time.Now()) }},
	}
}

func optional(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return *t
}

const stateActive = "active"

func state(k apikey.Key, now time.Time) string {
	switch {
	case k.RevokedAt != nil:
		return "revoked"
	case k.ExpiresAt != nil && !k.ExpiresAt.After(now):
		return "expired"
	}
	return stateActive
}

type listKeysCommand struct {
	config.Data `embed:""`
	listOutput  `embed:""`
	ProjectID   string `help:"Only the keys of this project."`
}

func (c *listKeysCommand) Run() error {
	return withKeys(&c.Data, func(ctx context.Context, keys *apikey.Keys) error {
		if err := knownProject(ctx, keys, c.ProjectID); err != nil {
			return err
		}
		all, err := keys.List(ctx)
		if err != nil {
			return err
		}
		list := all[:0]
		for _, k := range all {
			if c.ProjectID == "" || k.ProjectID == c.ProjectID {
				list = append(list, k)
			}
		}
		columns := keyColumns()
		if c.Output != formTable {
			columns = keyFields()
		}
		return printList(os.Stdout, c.Output, columns, list)
	})
}

// keyColumns are a table of keys; the rest of what is known of them is in JSON and
// CSV, and in keys permissions.
func keyColumns() []column[apikey.Key] {
	columns := []column[apikey.Key]{
		{title: "ID", value: func(k apikey.Key) any { return k.ID }},
		{title: "Key", value: func(k apikey.Key) any { return k.Prefix + "…" }},
		{title: "Project", value: func(k apikey.Key) any { return k.ProjectID }},
		{title: "Profile", value: func(k apikey.Key) any {
			if k.Admin {
				return "(admin)"
			}
			return k.Profile
		}},
	}
	columns = append(columns, of(limitColumns(), func(k apikey.Key) gateway.RateLimits { return k.Limits })...)
	return append(columns,
		column[apikey.Key]{title: "Created", value: func(k apikey.Key) any { return k.CreatedAt }},
		column[apikey.Key]{title: "Expires", value: func(k apikey.Key) any {
			if k.ExpiresAt == nil {
				return "never"
			}
			return tableText(*k.ExpiresAt)
		}},
		column[apikey.Key]{title: "State", value: func(k apikey.Key) any { return state(k, time.Now()) }},
		column[apikey.Key]{title: "Name", value: func(k apikey.Key) any { return k.Name }},
	)
}

type updateKeyCommand struct {
	config.Data        `embed:""`
	listOutput         `embed:""`
	keyArgument        `embed:""`
	Name               *string  `help:"A name for people."`
	Profile            *string  `help:"What the key allows."`
	RateLimit          *int     `help:"Requests per minute; 0: no limit."`
	TokensPerMinute    *int     `help:"Tokens per minute; 0: no limit."`
	ConcurrentRequests *int     `help:"Requests at the same time; 0: no limit."`
	Expires            *howLong `help:"When the key expires, from now, such as 30d or 12h; 0: never." placeholder:"DURATION"`
	budgetFlags        `embed:""`
}

func (c *updateKeyCommand) Run() error {
	wish := apikey.Update{
		Name: c.Name, Profile: c.Profile, RequestsPerMinute: c.RateLimit, TokensPerMinute: c.TokensPerMinute, ConcurrentRequests: c.ConcurrentRequests,
	}
	if c.Expires != nil {
		wish.ExpiresAt = fromNow(*c.Expires)
		if wish.ExpiresAt == nil {
			wish.ExpiresAt = new(time.Time)
		}
	}
	budgets, err := c.budgets()
	if err != nil {
		return err
	}
	if wish == (apikey.Update{}) && len(budgets) == 0 {
		return errNothing
	}
	ref, err := c.ref()
	if err != nil {
		return err
	}
	return withStore(&c.Data, func(ctx context.Context, s app.Store) error {
		keys := newKeys(s)
		account, err := keys.Find(ctx, ref)
		if err != nil {
			return err
		}
		if account.Key.Admin && len(budgets) > 0 {
			return errors.New("an admin key generates nothing and has no budgets")
		}
		key, err := keys.Update(ctx, account.Key.ID, wish)
		if err != nil {
			return err
		}
		owner := budget.Owner{Kind: budget.Key, ID: key.ID}
		if err := setBudgets(ctx, keys, owner, budgets); err != nil {
			return err
		}
		return printWithBudgets(ctx, s, c.Output, keyFields(), key, owner)
	})
}

// errNothing is for a change that names nothing.
var errNothing = errors.New("nothing to change: name what shall be another")
