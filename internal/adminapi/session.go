package adminapi

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/go-json-experiment/json"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/apikey"
	"claude-code-api-service/internal/archive"
	"claude-code-api-service/internal/audit"
	"claude-code-api-service/internal/openapi"
)

const (
	// CookieName is the cookie of a session. Only what is below cookiePath gets it.
	CookieName = "claude_api_session"
	cookiePath = "/admin/v1"

	pathSession = "/admin/v1/session"

	// sessionIdle is how long a session lasts without use, and sessionMost how long it
	// lasts at all.
	sessionIdle = 12 * time.Hour
	sessionMost = 7 * 24 * time.Hour
	// renewAfter is how old the last renewal is when use renews a session again: not each
	// look at the dashboard is to be a write.
	renewAfter = 10 * time.Minute
	// endedFor is far longer than a request takes from its look at the session to the end
	// of its renewal.
	endedFor = 10 * time.Minute

	// maxSignIn is the largest body of a sign-in, in bytes: anybody may send one.
	maxSignIn = 4 << 10
	// tokenLength is that of a cookie's token, in hexadecimal.
	tokenLength = 64
)

// Actions of the audit log.
const (
	SignedIn  = "session.opened"
	SignedOut = "session.closed"
)

// kindSession and owner are the place of sessions in the archive. An archive's owner is
// a key's id as a rule; who brings a cookie hasn't said yet whose it is.
const (
	kindSession = "admin-session"
	owner       = "sessions"
)

// session is what is kept of one: its id is the SHA-256 of its cookie's token, in
// hexadecimal, so nobody can sign in with what is in the database.
type session struct {
	KeyID string `json:"key_id"`
	// Prefix is the visible beginning of the key's text that opened the session: a text
	// that was replaced ends it when it isn't taken any more.
	Prefix  string    `json:"prefix"`
	Opened  time.Time `json:"opened"`
	Renewed time.Time `json:"renewed"`

	id      string
	name    string    // of the key
	expires time.Time // unless it is renewed
}

func (h *Handler) sessionEndpoints() []endpoint {
	view := openapi.Members("AdminSession", "",
		openapi.Always("key_id", openapi.Text("The id of the admin key.")),
		openapi.Always("name", openapi.Text("The key's name.")),
		openapi.Always("expires_at", openapi.Text("When the session ends unless it is used: RFC 3339, in UTC.")),
	)
	if !h.options.Sessions {
		return nil
	}
	return []endpoint{
		{
			Operation: openapi.Operation{
				Method: http.MethodPost, Path: pathSession, ID: "adminSignIn", Summary: "Open a session with an admin key.",
				Description: "The answer sets the cookie `" + CookieName + "` (HttpOnly, SameSite=Strict; Secure over TLS), which stands for the key below `/admin/v1` for 12 hours after its last use, 7 days at most, and no longer than the key is taken. " +
					"Whatever changes something by that cookie needs the header `X-Claude-Dashboard: 1`.",
				Request: openapi.Members("AdminSignIn", "", openapi.Always("key", openapi.Text("An admin key."))), Responses: answers(http.StatusNoContent, "The cookie is set.", nil),
			},
			serve: h.signIn, open: true,
		},
		{
			Operation: openapi.Operation{
				Method: http.MethodGet, Path: pathSession, ID: "adminSession", Summary: "The session that the cookie stands for.",
				Responses: answers(http.StatusOK, "The session.", view),
			},
			serve: h.showSession,
		},
		{
			Operation: openapi.Operation{
				Method: http.MethodDelete, Path: pathSession, ID: "adminSignOut", Summary: "End the session.",
				Responses: answers(http.StatusNoContent, "It has ended.", nil),
			},
			serve: h.signOut,
		},
	}
}

func (h *Handler) signIn(w http.ResponseWriter, r *http.Request, who *administrator) error {
	if err := h.sameSite(r); err != nil {
		return err
	}
	var wish struct {
		Key string `json:"key"`
	}
	if err := readUpTo(w, r, maxSignIn, &wish); err != nil {
		return err
	}
	if wish.Key == "" {
		return apierror.Invalid("key", "key: an admin key is needed")
	}
	who.key = wish.Key
	if _, err := h.byKey(r.Context(), who); err != nil {
		return err
	}
	var raw [tokenLength / 2]byte
	_, _ = rand.Read(raw[:]) // never fails
	token := hex.EncodeToString(raw[:])
	now := time.Now().UTC()
	s := &session{KeyID: who.KeyID, Prefix: apikey.VisiblePrefix(wish.Key), Opened: now, Renewed: now, id: idOf(token)}
	if err := h.keep(r.Context(), s, sessionIdle); err != nil {
		return err
	}
	if err := h.note(r.Context(), who, audit.Event{Action: SignedIn, Target: who.KeyID}); err != nil {
		return err
	}
	setCookie(w, r, token, sessionIdle)
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (h *Handler) showSession(w http.ResponseWriter, _ *http.Request, who *administrator) error {
	if who.session == nil {
		return notFound("", "there is no session: a key came")
	}
	return write(w, http.StatusOK, struct {
		KeyID   string    `json:"key_id"`
		Name    string    `json:"name"`
		Expires time.Time `json:"expires_at"`
	}{who.KeyID, who.session.name, who.session.expires.UTC()})
}

func (h *Handler) signOut(w http.ResponseWriter, r *http.Request, who *administrator) error {
	if who.session == nil {
		return notFound("", "there is no session: a key came")
	}
	// It is done whole, whether whoever asked waits for it or not.
	ctx := context.WithoutCancel(r.Context())
	if err := h.end(ctx, who.session.id); err != nil {
		return err
	}
	if err := h.note(ctx, who, audit.Event{Action: SignedOut, Target: who.KeyID}); err != nil {
		return err
	}
	setCookie(w, r, "", -time.Second)
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// end ends a session, also where a request of its renews it at the same moment: that finds
// the mark which is left here first.
func (h *Handler) end(ctx context.Context, id string) error {
	if err := h.options.Archive.Put(ctx, kindSession, owner, markOf(id), endedFor, []byte("{}")); err != nil {
		return err
	}
	if err := h.options.Archive.Delete(ctx, kindSession, owner, id); err != nil && !errors.Is(err, archive.ErrNotFound) {
		return err
	}
	return nil
}

// markOf is the id under which it is kept that a session was ended. No cookie has it.
func markOf(id string) string { return id + "-ended" }

// renew has a session last longer, unless it was ended meanwhile.
func (h *Handler) renew(ctx context.Context, s *session, lasts time.Duration) error {
	if err := h.keep(ctx, s, lasts); err != nil {
		return err
	}
	_, err := h.options.Archive.Get(ctx, kindSession, owner, markOf(s.id))
	switch {
	case errors.Is(err, archive.ErrNotFound):
		return nil
	case err != nil:
		return unfound(ctx, err)
	}
	if err := h.options.Archive.Delete(context.WithoutCancel(ctx), kindSession, owner, s.id); err != nil && !errors.Is(err, archive.ErrNotFound) {
		return unfound(ctx, err)
	}
	return ended(errors.New("it was ended while it was renewed"))
}

// bySession finds the session of a request's cookie, and lets nothing be read by it that a
// page of another origin has asked for, nor be changed that a page of our own hasn't.
// Without a cookie there is none.
func (h *Handler) bySession(w http.ResponseWriter, r *http.Request, who *administrator) error {
	cookie, err := r.Cookie(CookieName)
	if err != nil {
		return nil //nolint:nilerr // none came
	}
	if site := r.Header.Get("Sec-Fetch-Site"); site != "" && site != "same-origin" && site != "none" {
		// Also the page of another port or host below ours, from where SameSite lets it come:
		// it could read nothing, but keep streams open.
		return apierror.New(apierror.Permission, "the page of another site has sent this request")
	}
	s, err := h.find(r.Context(), cookie.Value)
	if err != nil {
		return h.slowed(r.Context(), who, err)
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		if err := h.sameSite(r); err != nil {
			return err
		}
		if r.Header.Get(headerDashboard) != "1" {
			return apierror.New(apierror.Permission, "what changes something by a session's cookie needs the header "+headerDashboard+": 1")
		}
	}
	if now := time.Now().UTC(); now.Sub(s.Renewed) >= renewAfter {
		s.Renewed = now
		lasts := min(sessionIdle, s.Opened.Add(sessionMost).Sub(now))
		if err := h.renew(r.Context(), s, lasts); err != nil {
			return err
		}
		setCookie(w, r, cookie.Value, lasts)
	}
	who.KeyID, who.session = s.KeyID, s
	return nil
}

// sameSite refuses what a browser sends for another site's page.
func (h *Handler) sameSite(r *http.Request) error {
	if err := h.crossOrigin.Check(r); err != nil {
		return apierror.Wrap(apierror.Permission, "the page of another site has sent this request", err)
	}
	return nil
}

func idOf(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}

// ended is what whoever brings a cookie hears whose session isn't there any more.
func ended(cause error) error {
	return &apierror.Error{Category: apierror.AuthError, Code: apierror.CodeInvalidKey, Message: "the session has ended: sign in again", Cause: cause}
}

// slowed holds back who brings cookies that aren't valid, as who tries keys.
func (h *Handler) slowed(ctx context.Context, who *administrator, err error) error {
	if apierror.From(err).Category != apierror.AuthError {
		return err
	}
	return h.options.Authenticator.Slow(ctx, who.Address, err)
}

// find gives the session of a token. What can't be one isn't looked for.
func (h *Handler) find(ctx context.Context, token string) (*session, error) {
	if len(token) != tokenLength {
		return nil, ended(errors.New("no session has such a cookie"))
	}
	return h.byID(ctx, idOf(token))
}

// byID gives a session whose key is still taken, and still administers the service.
func (h *Handler) byID(ctx context.Context, id string) (*session, error) {
	d, err := h.options.Archive.Get(ctx, kindSession, owner, id)
	if errors.Is(err, archive.ErrNotFound) {
		return nil, ended(err)
	}
	if err != nil {
		return nil, unfound(ctx, err)
	}
	s := &session{id: id, expires: d.Expires}
	if err := json.Unmarshal(d.Body, s); err != nil {
		return nil, fmt.Errorf("read a session: %w", err)
	}
	account, err := h.options.Keys.Find(ctx, s.KeyID)
	if errors.Is(err, apikey.ErrNotFound) {
		return nil, ended(err)
	}
	if err != nil {
		return nil, unfound(ctx, err)
	}
	if k := &account.Key; !k.Admin || !k.Taken(s.Prefix, time.Now()) {
		return nil, ended(errors.New("its key isn't taken any more"))
	}
	s.name = account.Key.Name
	return s, nil
}

// unfound says that it couldn't be found out whose session it is: it may well be good.
func unfound(ctx context.Context, cause error) error {
	if ctx.Err() != nil {
		return apierror.Wrap(apierror.ClientClosed, "the caller left", cause)
	}
	return &apierror.Error{Category: apierror.Overloaded, Message: "the session can't be checked at the moment", RetryAfter: time.Second, Cause: cause}
}

func (h *Handler) keep(ctx context.Context, s *session, ttl time.Duration) error {
	body, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("encode a session: %w", err)
	}
	if err := h.options.Archive.Put(ctx, kindSession, owner, s.id, ttl, body); err != nil {
		return unfound(ctx, err)
	}
	s.expires = time.Now().Add(ttl)
	return nil
}

// setCookie gives a browser the token, to be kept for so long, or takes it away.
func setCookie(w http.ResponseWriter, r *http.Request, token string, lasts time.Duration) {
	http.SetCookie(w, &http.Cookie{
		Name: CookieName, Value: token, Path: cookiePath, MaxAge: int(lasts / time.Second), HttpOnly: true, SameSite: http.SameSiteStrictMode, Secure: r.TLS != nil,
	})
}
