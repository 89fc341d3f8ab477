package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"claude-code-api-service/internal/apikey"
	"claude-code-api-service/internal/app"
	"claude-code-api-service/internal/config"
)

type rotateKeyCommand struct {
	config.Data `embed:""`
	listOutput  `embed:""`
	keyArgument `embed:""`
	Grace       howLong `help:"How long the present text works on, such as 12h or 7d; 0: it ends at once." default:"24h" placeholder:"DURATION"`
	Quiet       bool    `short:"q" help:"Print only the new key."`
}

func (c *rotateKeyCommand) Run() error {
	ref, err := c.ref()
	if err != nil {
		return err
	}
	return withStore(&c.Data, func(ctx context.Context, s app.Store) error {
		text, key, err := newKeys(s).Rotate(ctx, ref, time.Duration(c.Grace))
		if err != nil {
			return err
		}
		return printKey(ctx, s, c.Quiet, c.Output, text, key)
	})
}

type revokeKeyCommand struct {
	config.Data `embed:""`
	listOutput  `embed:""`
	keyArgument `embed:""`
	Force       bool `help:"Don't ask. Nor is anything asked when the key comes from standard input."`
}

func (c *revokeKeyCommand) Run() error {
	ref, err := c.ref()
	if err != nil {
		return err
	}
	return withKeys(&c.Data, func(ctx context.Context, keys *apikey.Keys) error {
		account, err := keys.Find(ctx, ref)
		if err != nil {
			return err
		}
		key := account.Key
		if !c.Force && c.Key != fromInput {
			if err := confirm(fmt.Sprintf("Revoke %s? It can't be undone.", described(key))); err != nil {
				return err
			}
		}
		// By the id: a whole key may have been rotated in the meantime.
		if key, err = keys.Revoke(ctx, key.ID); err != nil {
			return err
		}
		if c.Output != formTable {
			return printOne(os.Stdout, c.Output, keyFields(), key)
		}
		printf("Revoked %s.\n", onScreen(described(key)))
		return nil
	})
}

// described says in a line which key it is.
func described(k apikey.Key) string {
	text := k.ID + " (" + k.Prefix + "…, project " + k.ProjectID
	if k.Name != "" {
		text += ", " + k.Name
	}
	return text + ")"
}

// confirm asks on standard error, so that standard output holds only what was
// asked for; what isn't a yes is an error.
func confirm(question string) error {
	fmt.Fprintf(os.Stderr, "%s [y/N] ", printable(question))
	answer, err := bufio.NewReader(os.Stdin).ReadString('\n')
	if err != nil {
		fmt.Fprintln(os.Stderr) // no line's end came with the answer
	}
	if err != nil && answer == "" {
		return errors.New("nobody answered: use --force to revoke without being asked")
	}
	if a := strings.ToLower(strings.TrimSpace(answer)); a != "y" && a != "yes" {
		return errors.New("not revoked")
	}
	return nil
}

type testKeyCommand struct {
	config.Data `embed:""`
	listOutput  `embed:""`
	keyArgument `embed:""`
}

// verdict is what is to say of a key.
type verdict struct {
	key    apikey.Key // the zero one, if there is none
	reason error      // why it isn't valid; nil: it is
}

// Run says whether the service would take the key now. Of an id or a beginning it
// says whether the key's present text would be taken.
func (c *testKeyCommand) Run() error {
	ref, err := c.ref()
	if err != nil {
		return err
	}
	return withKeys(&c.Data, func(ctx context.Context, keys *apikey.Keys) error {
		var v verdict
		if apikey.WellFormed(ref) {
			account, err := keys.Check(ctx, ref)
			if err != nil && !refused(err) {
				return err
			}
			v = verdict{account.Key, err}
		} else {
			account, err := keys.Find(ctx, ref)
			if err != nil {
				return &exitError{exitFailed, plain(err)}
			}
			v.key = account.Key
			if s := state(v.key, time.Now()); s != stateActive {
				v.reason = fmt.Errorf("the API key is %s", s)
			}
		}
		if v.reason == nil || c.Output != formTable {
			if err := printOne(os.Stdout, c.Output, verdictColumns(), v); err != nil {
				return err
			}
		}
		if v.reason != nil {
			return &exitError{exitFailed, v.reason}
		}
		return nil
	})
}

func verdictColumns() []column[verdict] {
	known := func(value func(k apikey.Key) string) func(v verdict) any {
		return func(v verdict) any {
			if v.key.ID == "" {
				return nil
			}
			return value(v.key)
		}
	}
	return []column[verdict]{
		{name: "valid", title: "Valid", value: func(v verdict) any { return v.reason == nil }},
		{name: "reason", value: func(v verdict) any {
			if v.reason == nil {
				return nil
			}
			return plain(v.reason).Error()
		}},
		{name: "id", title: "ID", value: known(func(k apikey.Key) string { return k.ID })},
		{name: "project_id", title: "Project", value: known(func(k apikey.Key) string { return k.ProjectID })},
		{name: "profile", title: "Profile", value: known(func(k apikey.Key) string { return k.Profile })},
		{name: "expires_at", title: "Expires", value: func(v verdict) any { return optional(v.key.ExpiresAt) }},
	}
}
