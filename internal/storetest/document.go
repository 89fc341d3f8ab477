package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"claude-code-api-service/internal/archive"
)

func sampleDocument(n int) archive.Document {
	created := start.Add(time.Duration(n) * time.Second)
	return archive.Document{
		Kind: "response", ID: fmt.Sprintf("resp_%d", n), KeyID: "key_1", Created: created, Expires: created.Add(time.Hour),
		Body: fmt.Appendf(nil, `{"n":%d,"text":"größer"}`, n),
	}
}

func mustPut(t *testing.T, s archive.Store, documents ...archive.Document) {
	t.Helper()
	for _, d := range documents {
		if err := s.PutDocument(t.Context(), d); err != nil {
			t.Fatalf("PutDocument(%s): %v", d.ID, err)
		}
	}
}

// sameDocument compares two; an empty body may come back as nil.
func sameDocument(a, b archive.Document) bool {
	same := bytes.Equal(a.Body, b.Body)
	a.Body, b.Body = nil, nil
	return same && reflect.DeepEqual(a, b)
}

// checkDocument says whether the store has exactly this document.
func checkDocument(t *testing.T, s archive.Store, want archive.Document) {
	t.Helper()
	got, err := s.Document(t.Context(), want.Kind, want.KeyID, want.ID)
	if err != nil || !sameDocument(got, want) {
		t.Errorf("Document =\n%+v, %v; want\n%+v", got, err, want)
	}
}

func checkNoDocument(t *testing.T, s archive.Store, kind, keyID, id string) {
	t.Helper()
	if got, err := s.Document(t.Context(), kind, keyID, id); !errors.Is(err, archive.ErrNotFound) || !reflect.DeepEqual(got, archive.Document{}) {
		t.Errorf("Document(%s, %s, %s) = %+v, %v; want ErrNotFound", kind, keyID, id, got, err)
	}
}

// TestDocuments checks an archive.Store. open gives a new, empty store each time
// and sees to its end.
func TestDocuments(t *testing.T, open func(t *testing.T) archive.Store) {
	t.Run("a document comes back as it was stored", func(t *testing.T) {
		s := open(t)
		plain, empty, large := sampleDocument(1), sampleDocument(2), sampleDocument(3)
		empty.Body = []byte{}
		large.Body = bytes.Repeat([]byte{0, 0xff, '\n', '"'}, 1<<18)
		mustPut(t, s, plain, empty, large)
		for _, want := range []archive.Document{plain, empty, large} {
			checkDocument(t, s, want)
		}
		without := sampleDocument(4)
		without.Body = nil
		mustPut(t, s, without)
		checkDocument(t, s, without)
	})

	t.Run("kind, key and id name it together", func(t *testing.T) {
		s := open(t)
		first := sampleDocument(1)
		otherKind, otherKey, otherID := first, first, first
		otherKind.Kind, otherKind.Body = "batch", []byte("kind")
		otherKey.KeyID, otherKey.Body = "key_2", []byte("key")
		otherID.ID, otherID.Body = "resp_2", []byte("id")
		all := []archive.Document{first, otherKind, otherKey, otherID}
		mustPut(t, s, all...)
		for _, want := range all {
			checkDocument(t, s, want)
		}
		if err := s.DeleteDocument(t.Context(), "response", "key_2", "resp_1"); err != nil {
			t.Error(err)
		}
		checkNoDocument(t, s, "response", "key_2", "resp_1")
		for _, want := range []archive.Document{first, otherKind, otherID} {
			checkDocument(t, s, want)
		}
	})

	t.Run("a second one replaces the first", func(t *testing.T) {
		s := open(t)
		mustPut(t, s, sampleDocument(1))
		second := sampleDocument(2)
		second.ID = sampleDocument(1).ID
		mustPut(t, s, second)
		checkDocument(t, s, second)
	})

	t.Run("what isn't there", func(t *testing.T) {
		s := open(t)
		mustPut(t, s, sampleDocument(1))
		for _, ask := range [][3]string{
			{"response", "key_2", "resp_1"}, {"batch", "key_1", "resp_1"}, {"response", "key_1", "resp_2"}, {"response", "key_1", ""}, {"", "", ""},
		} {
			checkNoDocument(t, s, ask[0], ask[1], ask[2])
			if err := s.DeleteDocument(t.Context(), ask[0], ask[1], ask[2]); !errors.Is(err, archive.ErrNotFound) {
				t.Errorf("DeleteDocument(%v) = %v, want ErrNotFound", ask, err)
			}
		}
		checkDocument(t, s, sampleDocument(1))
	})

	t.Run("all of a kind that a key has", func(t *testing.T) {
		s := open(t)
		otherKind, otherKey, noKey := sampleDocument(2), sampleDocument(3), sampleDocument(4)
		otherKind.Kind, otherKey.KeyID, noKey.KeyID = "batch", "key_2", ""
		same := sampleDocument(5)
		same.ID = "resp_0"
		mustPut(t, s, sampleDocument(5), otherKind, otherKey, noKey, sampleDocument(1), same)
		for _, tt := range []struct {
			kind, keyID string
			want        []archive.Document
		}{
			{"response", "key_1", []archive.Document{sampleDocument(1), same, sampleDocument(5)}},
			{"response", "", []archive.Document{noKey}},
			{"batch", "key_2", nil},
		} {
			got, err := s.Documents(t.Context(), tt.kind, tt.keyID)
			if err != nil || !slices.EqualFunc(got, tt.want, sameDocument) {
				t.Errorf("Documents(%s, %s) =\n%+v, %v; want\n%+v", tt.kind, tt.keyID, got, err, tt.want)
			}
		}
	})

	t.Run("expired ones go, however many", func(t *testing.T) {
		s := open(t)
		const documents, expired = 1000, 700
		for n := range documents {
			mustPut(t, s, sampleDocument(n))
		}
		checkDocument(t, s, sampleDocument(0)) // the store knows no clock
		last := sampleDocument(expired - 1)
		for _, want := range []int64{expired, 0} {
			if n, err := s.DeleteExpired(t.Context(), last.Expires); n != want || err != nil {
				t.Errorf("DeleteExpired = %d, %v; want %d", n, err, want)
			}
		}
		checkNoDocument(t, s, last.Kind, last.KeyID, last.ID)
		checkDocument(t, s, sampleDocument(expired))
	})

	t.Run("an ended context changes nothing", func(t *testing.T) {
		s := open(t)
		mustPut(t, s, sampleDocument(1))
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, sweep := s.DeleteExpired(ctx, start.AddDate(1, 0, 0))
		for name, err := range map[string]error{
			"PutDocument":    s.PutDocument(ctx, sampleDocument(2)),
			"DeleteDocument": s.DeleteDocument(ctx, "response", "key_1", "resp_1"),
			"DeleteExpired":  sweep,
		} {
			if !errors.Is(err, context.Canceled) {
				t.Errorf("%s = %v, want context.Canceled", name, err)
			}
		}
		checkDocument(t, s, sampleDocument(1))
		checkNoDocument(t, s, "response", "key_1", "resp_2")
	})

	t.Run("many at once", func(t *testing.T) {
		s := open(t)
		const writers, each = 8, 20
		var wg sync.WaitGroup
		for w := range writers {
			wg.Go(func() {
				for i := range each {
					d := sampleDocument(w*each + i)
					if err := s.PutDocument(t.Context(), d); err != nil {
						t.Errorf("PutDocument: %v", err)
					}
					if got, err := s.Document(t.Context(), d.Kind, d.KeyID, d.ID); err != nil || !sameDocument(got, d) {
						t.Errorf("Document = %+v, %v: what was put must be there", got, err)
					}
				}
			})
		}
		wg.Wait()
		if n, err := s.DeleteExpired(t.Context(), start.AddDate(1, 0, 0)); n != writers*each || err != nil {
			t.Errorf("%d documents, %v; want %d", n, err, writers*each)
		}
	})
}
