package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"claude-code-api-service/internal/apikey"
	"claude-code-api-service/internal/config"
)

type provisionKeyCommand struct {
	config.Data `embed:""`
	listOutput  `embed:""`
	ID          string  `arg:"" help:"Who the key is for: A-Z a-z 0-9 . _ -, also the project's id when --project-id isn't set."`
	ProjectID   string  `help:"The project that the key belongs to."`
	Profile     *string `help:"What a new key allows; ${default_profile} if nothing is said."`
	RateLimit   *int    `help:"Requests per minute of a new key; 0: no limit; 100 if nothing is said."`
	Renew       bool    `help:"Put a new key in the place of one that is revoked, expired or unknown; the former file gets the suffix .old."`
	Quiet       bool    `short:"q" help:"Print only the key."`
}

// Run gives the key of a name: the one in its file, or a new one, which it writes
// there. Two at once get the same key.
func (c *provisionKeyCommand) Run() error {
	if err := apikey.CheckProjectID(c.ID); err != nil || strings.HasPrefix(c.ID, ".") {
		return errors.New("ID must be 1 to 64 characters of A-Z a-z 0-9 . _ -, and not begin with a full stop")
	}
	folder, err := openKeyFolder(filepath.Join(c.DataDir, "keys"))
	if err != nil {
		return err
	}
	defer folder.close()
	return withKeys(&c.Data, func(ctx context.Context, keys *apikey.Keys) error {
		text, err := c.provide(ctx, keys, folder)
		if err != nil {
			return err
		}
		if c.Quiet {
			printf("%s\n", text)
			return nil
		}
		return printOne(os.Stdout, c.Output, []column[string]{
			{name: "key", title: "Key", value: func(text string) any { return text }},
			{name: "file", title: "File", value: func(string) any { return filepath.Join(c.DataDir, "keys", c.file()) }},
		}, text)
	})
}

func (c *provisionKeyCommand) file() string { return c.ID + ".key" }

func (c *provisionKeyCommand) provide(ctx context.Context, keys *apikey.Keys, folder *keyFolder) (string, error) {
	text, err := folder.read(c.file())
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return "", err
	default:
		account, err := keys.Check(ctx, text)
		if err == nil && c.ProjectID != "" && account.Key.ProjectID != c.ProjectID {
			return "", fmt.Errorf("the key of %s belongs to the project %s", c.ID, account.Key.ProjectID)
		}
		if err == nil {
			c.warnOfOther(account.Key)
			return text, nil
		}
		if !refused(err) {
			return "", err
		}
		if !c.Renew {
			return "", fmt.Errorf("%s; --renew makes a new one and keeps the former file", c.useless(text, account.Key.ID != "", err))
		}
	}
	project := c.ProjectID
	if project == "" {
		project = c.ID
	}
	wish := apikey.Create{ProjectID: project, Name: c.ID, RequestsPerMinute: c.RateLimit}
	set(&wish.Profile, c.Profile)
	if text, _, err = keys.Create(ctx, wish); err != nil {
		return "", err
	}
	return text, folder.write(c.file(), text)
}

// useless says why the key in the file is of no use.
func (c *provisionKeyCommand) useless(text string, known bool, reason error) string {
	file := filepath.Join("keys", c.file())
	switch {
	case known:
		return file + ": " + plain(reason).Error()
	case apikey.WellFormed(text):
		return "this database doesn't know the key in " + file
	}
	return "there is no key in " + file
}

// warnOfOther warns of flags that say something else than the key that exists is.
func (c *provisionKeyCommand) warnOfOther(key apikey.Key) {
	const advice = "; the key exists: use keys update"
	if c.Profile != nil && *c.Profile != key.Profile {
		warn("--profile: the key of %s has the profile %s, not %s"+advice, c.ID, key.Profile, *c.Profile)
	}
	if c.RateLimit != nil && *c.RateLimit != key.Limits.RequestsPerMinute {
		warn("--rate-limit: the key of %s has the limit %d, not %d"+advice, c.ID, key.Limits.RequestsPerMinute, *c.RateLimit)
	}
}
