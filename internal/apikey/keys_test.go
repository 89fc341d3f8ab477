package apikey_test

import (
	"crypto/sha256"
	"errors"
	"regexp"
	"strings"
	"testing"
	"time"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/apikey"
)

var now = time.Date(2026, 5, 6, 7, 8, 9, 123456789, time.UTC)

func fixedNow() time.Time { return now }

func TestCreate(t *testing.T) {
	store := newMemory()
	keys := apikey.NewKeys(apikey.Options{Store: store, Now: fixedNow})
	expires := now.Add(time.Hour)
	text, key, err := keys.Create(t.Context(), apikey.Create{
		ProjectID: "my.project_1-A", Name: "Größe", Profile: "enterprise", RequestsPerMinute: new(0), ExpiresAt: &expires,
	})
	if err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(`^cc_[0-9a-f]{40}$`).MatchString(text) || !apikey.WellFormed(text) {
		t.Errorf("the key is %q", text)
	}
	if key.Prefix != text[:11] || !regexp.MustCompile(`^key_[0-9a-f]{16}$`).MatchString(key.ID) {
		t.Errorf("prefix %q, id %q", key.Prefix, key.ID)
	}
	if key.ProjectID != "my.project_1-A" || key.Name != "Größe" || key.Profile != "enterprise" || key.Limits.RequestsPerMinute != 0 {
		t.Errorf("key is %+v", key)
	}
	if !key.CreatedAt.Equal(now.Truncate(time.Microsecond)) || !key.ExpiresAt.Equal(expires.Truncate(time.Microsecond)) || key.RevokedAt != nil {
		t.Errorf("times are %v, %v, %v", key.CreatedAt, key.ExpiresAt, key.RevokedAt)
	}
	if stored, ok := store.keys[sha256.Sum256([]byte(text))]; !ok || stored != key {
		t.Errorf("stored under the SHA-256 of the text: %v, %+v", ok, stored)
	}
	other, _, err := keys.Create(t.Context(), apikey.Create{ProjectID: "p"})
	if err != nil || other == text {
		t.Errorf("a second key: %v, the same text: %v", err, other == text)
	}
}

func TestCreateDefaults(t *testing.T) {
	keys := apikey.NewKeys(apikey.Options{Store: newMemory()})
	_, key, err := keys.Create(t.Context(), apikey.Create{ProjectID: "p"})
	if err != nil || key.Profile != "pro" || key.Limits.RequestsPerMinute != 100 || key.ExpiresAt != nil {
		t.Errorf("key is %+v, %v", key, err)
	}
}

// TestCreateOfAnExistingText takes a key that callers have from elsewhere, once.
func TestCreateOfAnExistingText(t *testing.T) {
	store, text := newMemory(), "cc_"+strings.Repeat("0123456789abcdef", 3)[:40]
	keys := apikey.NewKeys(apikey.Options{Store: store, Now: fixedNow})
	got, key, err := keys.Create(t.Context(), apikey.Create{ProjectID: "p", Text: text})
	if err != nil || got != text || key.Prefix != text[:11] {
		t.Fatalf("%q, %+v, %v", got, key, err)
	}
	if account, err := keys.Check(t.Context(), text); err != nil || account.Key.ID != key.ID {
		t.Errorf("it is %+v, %v", account.Key, err)
	}
	for _, other := range []string{text, "sk-ant-1", strings.ToUpper(text), text + "0"} {
		_, _, err := keys.Create(t.Context(), apikey.Create{ProjectID: "p", Text: other})
		var e *apierror.Error
		if !errors.As(err, &e) || e.Param != "key" || strings.Contains(err.Error(), other) {
			t.Errorf("%q: %v", other, err)
		}
	}
	if len(store.keys) != 1 {
		t.Errorf("%d keys are there", len(store.keys))
	}
}

func TestCreateRefuses(t *testing.T) {
	past := now.Add(-time.Second)
	for name, c := range map[string]struct {
		create apikey.Create
		param  string
	}{
		"no project":              {apikey.Create{}, "project_id"},
		"a project with a slash":  {apikey.Create{ProjectID: "a/b"}, "project_id"},
		"a project with a letter": {apikey.Create{ProjectID: "ä"}, "project_id"},
		"a project with NUL":      {apikey.Create{ProjectID: "a\x00"}, "project_id"},
		"a long project":          {apikey.Create{ProjectID: strings.Repeat("p", 65)}, "project_id"},
		"an unknown profile":      {apikey.Create{ProjectID: "p", Profile: "root"}, "profile"},
		"a negative limit":        {apikey.Create{ProjectID: "p", RequestsPerMinute: new(-1)}, "requests_per_minute"},
		"an absurd limit":         {apikey.Create{ProjectID: "p", RequestsPerMinute: new(1_000_001)}, "requests_per_minute"},
		"an expiry in the past":   {apikey.Create{ProjectID: "p", ExpiresAt: &past}, "expires_at"},
		"an expiry now":           {apikey.Create{ProjectID: "p", ExpiresAt: &now}, "expires_at"},
		"a name with a newline":   {apikey.Create{ProjectID: "p", Name: "a\nb"}, "name"},
		"a name that isn't UTF-8": {apikey.Create{ProjectID: "p", Name: "\xff"}, "name"},
		"a long name":             {apikey.Create{ProjectID: "p", Name: strings.Repeat("ä", 129)}, "name"},
	} {
		t.Run(name, func(t *testing.T) {
			store := newMemory()
			text, _, err := apikey.NewKeys(apikey.Options{Store: store, Now: fixedNow}).Create(t.Context(), c.create)
			var e *apierror.Error
			if !errors.As(err, &e) || e.Category != apierror.BadRequest || e.Param != c.param {
				t.Errorf("error is %v, want bad_request that names %s", err, c.param)
			}
			if text != "" || len(store.keys) != 0 {
				t.Error("a key was made")
			}
		})
	}
}

func TestRevoke(t *testing.T) {
	for name, ref := range map[string]func(text string, key apikey.Key) string{
		"by the whole key": func(text string, _ apikey.Key) string { return text },
		"by the id":        func(_ string, key apikey.Key) string { return key.ID },
		"by the prefix":    func(_ string, key apikey.Key) string { return key.Prefix },
	} {
		t.Run(name, func(t *testing.T) {
			clock := now
			store := newMemory()
			keys := apikey.NewKeys(apikey.Options{Store: store, Now: func() time.Time { return clock }})
			text, key, err := keys.Create(t.Context(), apikey.Create{ProjectID: "p"})
			if err != nil {
				t.Fatal(err)
			}
			for range 2 { // the second time changes nothing
				got, err := keys.Revoke(t.Context(), ref(text, key))
				if err != nil || got.ID != key.ID || got.RevokedAt == nil || !got.RevokedAt.Equal(now.Truncate(time.Microsecond)) {
					t.Errorf("Revoke = %+v, %v", got, err)
				}
				clock = clock.Add(time.Hour)
			}
			if list, err := keys.List(t.Context()); err != nil || len(list) != 1 || list[0].RevokedAt == nil {
				t.Errorf("List = %+v, %v", list, err)
			}
		})
	}
}

func TestRevokeRefuses(t *testing.T) {
	store := newMemory()
	for i := range 2 {
		key := apikey.Key{ID: "key_" + string(rune('a'+i)), Prefix: "cc_12345678"}
		if err := store.CreateKey(t.Context(), key, apikey.Hash{byte(i)}, nil); err != nil {
			t.Fatal(err)
		}
	}
	keys := apikey.NewKeys(apikey.Options{Store: store})
	secret := "cc_" + strings.Repeat("0", 40)
	for name, c := range map[string]struct {
		ref  string
		want error
	}{
		"an unknown key":    {secret, apikey.ErrNotFound},
		"an unknown id":     {"key_z", apikey.ErrNotFound},
		"nothing":           {"", apikey.ErrNotFound},
		"a shared prefix":   {"cc_12345678", apikey.ErrAmbiguous},
		"a part of the key": {"cc_1234", apikey.ErrNotFound},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := keys.Revoke(t.Context(), c.ref)
			if !errors.Is(err, c.want) {
				t.Errorf("Revoke = %v, want %v", err, c.want)
			}
			if err != nil && strings.Contains(err.Error(), secret) {
				t.Errorf("the error repeats the key: %v", err)
			}
		})
	}
}

func TestStoreErrorsPassThrough(t *testing.T) {
	store := newMemory()
	broken := errors.New("broken")
	store.fail(broken)
	keys := apikey.NewKeys(apikey.Options{Store: store})
	if _, _, err := keys.Create(t.Context(), apikey.Create{ProjectID: "p"}); !errors.Is(err, broken) {
		t.Errorf("Create: %v", err)
	}
	if _, err := keys.List(t.Context()); !errors.Is(err, broken) {
		t.Errorf("List: %v", err)
	}
	for _, ref := range []string{"key_x", "cc_" + strings.Repeat("0", 40)} {
		if _, err := keys.Revoke(t.Context(), ref); !errors.Is(err, broken) {
			t.Errorf("Revoke(%s): %v", ref, err)
		}
	}
}

func FuzzWellFormed(f *testing.F) {
	for _, s := range []string{"", "cc_", "cc_" + strings.Repeat("a", 40), "cc_" + strings.Repeat("A", 40), "cc_" + strings.Repeat("é", 20)} {
		f.Add(s)
	}
	pattern := regexp.MustCompile(`\Acc_[0-9a-f]{40}\z`)
	f.Fuzz(func(t *testing.T, s string) {
		if got, want := apikey.WellFormed(s), pattern.MatchString(s); got != want {
			t.Errorf("WellFormed(%q) = %v, want %v", s, got, want)
		}
		if got, want := apikey.HashOf(s), apikey.Hash(sha256.Sum256([]byte(s))); got != want {
			t.Errorf("HashOf(%q) = %x, want %x", s, got, want)
		}
	})
}
