package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/apikey"
	"claude-code-api-service/internal/config"
	"claude-code-api-service/internal/sqlite"
)

type keysCommand struct {
	Create createKeyCommand `cmd:"" help:"Create a key. Its text is shown once."`
	List   listKeysCommand  `cmd:"" help:"List keys."`
	Revoke revokeKeyCommand `cmd:"" help:"Revoke a key; the running service refuses it within a second."`
}

// withKeys opens the data folder, also while the service runs on it.
func withKeys(data *config.Data, do func(ctx context.Context, keys *apikey.Keys) error) error {
	ctx := context.Background()
	db, err := sqlite.Open(ctx, sqlite.Options{Path: data.Database(), Synchronous: data.Synchronous})
	if err != nil {
		return err
	}
	err = do(ctx, apikey.NewKeys(apikey.Options{Store: db}))
	return errors.Join(plain(err), db.Close())
}

// plain gives a person only the text of what is wrong with their wish.
func plain(err error) error {
	var e *apierror.Error
	if errors.As(err, &e) && e.Category == apierror.BadRequest {
		return errors.New(e.Message)
	}
	return err
}

type createKeyCommand struct {
	config.Data `embed:""`
	ProjectID   string        `required:"" help:"The project that the key belongs to."`
	Name        string        `help:"A name for people."`
	Profile     string        `help:"What the key allows: free, pro or enterprise." default:"${default_profile}"`
	RateLimit   int           `help:"Requests per minute; 0: no limit." default:"100"`
	Expires     time.Duration `help:"When the key expires, from now, such as 720h; 0: never."`
	Quiet       bool          `short:"q" help:"Print only the key."`
}

func (c *createKeyCommand) Run() error {
	return withKeys(&c.Data, func(ctx context.Context, keys *apikey.Keys) error {
		create := apikey.Create{ProjectID: c.ProjectID, Name: c.Name, Profile: c.Profile, RequestsPerMinute: &c.RateLimit}
		if c.Expires != 0 {
			at := time.Now().Add(c.Expires)
			create.ExpiresAt = &at
		}
		text, key, err := keys.Create(ctx, create)
		if err != nil {
			return err
		}
		if c.Quiet {
			printf("%s\n", text)
			return nil
		}
		printf("Key:      %s\n          (shown once: only its hash is kept)\nID:       %s\nProject:  %s\nProfile:  %s\nLimit:    %s\n",
			text, key.ID, key.ProjectID, key.Profile, limit(key.Limits.RequestsPerMinute))
		return nil
	})
}

func limit(perMinute int) string {
	if perMinute == 0 {
		return "none"
	}
	return fmt.Sprintf("%d/min", perMinute)
}

type listKeysCommand struct {
	config.Data `embed:""`
}

func (c *listKeysCommand) Run() error {
	return withKeys(&c.Data, func(ctx context.Context, keys *apikey.Keys) error {
		list, err := keys.List(ctx)
		if err != nil {
			return err
		}
		w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "ID\tKEY\tPROJECT\tPROFILE\tLIMIT\tCREATED\tSTATE\tNAME")
		for _, k := range list {
			fmt.Fprintf(w, "%s\t%s…\t%s\t%s\t%s\t%s\t%s\t%s\n", k.ID, k.Prefix, k.ProjectID, k.Profile,
				limit(k.Limits.RequestsPerMinute), k.CreatedAt.Local().Format("2006-01-02 15:04"), state(k), k.Name)
		}
		return w.Flush()
	})
}

func state(k apikey.Key) string {
	switch {
	case k.RevokedAt != nil:
		return "revoked"
	case k.ExpiresAt != nil && !k.ExpiresAt.After(time.Now()):
		return "expired"
	}
	return "active"
}

type revokeKeyCommand struct {
	config.Data `embed:""`
	Key         string `arg:"" help:"The key, its id or its visible beginning; \"-\" reads it from standard input."`
	Force       bool   `help:"Don't ask."`
}

func (c *revokeKeyCommand) Run() error {
	in := bufio.NewReader(os.Stdin)
	ref := c.Key
	if ref == "-" {
		line, err := in.ReadString('\n')
		if err != nil && line == "" {
			return fmt.Errorf("read the key: %w", err)
		}
		ref = strings.TrimSpace(line)
	} else if !c.Force {
		printf("Revoke %s? It can't be undone. [y/N] ", shown(ref))
		answer, err := in.ReadString('\n')
		if err != nil && answer == "" {
			return errors.New("nobody answered: use --force to revoke without being asked")
		}
		if a := strings.ToLower(strings.TrimSpace(answer)); a != "y" && a != "yes" {
			return errors.New("not revoked")
		}
	}
	return withKeys(&c.Data, func(ctx context.Context, keys *apikey.Keys) error {
		key, err := keys.Revoke(ctx, ref)
		if err != nil {
			return err
		}
		printf("Revoked %s (%s…, project %s).\n", key.ID, key.Prefix, key.ProjectID)
		return nil
	})
}

// shown shortens a whole key, which must not end up in a terminal's history of
// output.
func shown(ref string) string {
	if apikey.WellFormed(ref) {
		return ref[:11] + "…"
	}
	return ref
}

// printf writes to standard output. A closed one is nothing to report.
func printf(format string, args ...any) { fmt.Printf(format, args...) }
