package app

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"time"

	"claude-code-api-service/internal/adminapi"
	"claude-code-api-service/internal/admission"
	"claude-code-api-service/internal/apikey"
	"claude-code-api-service/internal/audit"
	"claude-code-api-service/internal/budget"
	"claude-code-api-service/internal/task"
	"claude-code-api-service/internal/webhook"
)

// webhookFlush is how long the webhook's receiver gets when the service stops.
// What it doesn't take is kept for the next start; the ledger needs the rest.
const webhookFlush = 3 * time.Second

// AuditChanges gives what writes changes of keys, projects, profiles and budgets
// into the audit log, before whoever made them hears that they are made. The
// actor is one of audit's, or a key's id.
func AuditChanges(store audit.Store, actor string) func(ctx context.Context, changes []apikey.Change) error {
	return func(ctx context.Context, changes []apikey.Change) error {
		events := make([]audit.Event, 0, len(changes))
		for _, c := range changes {
			events = append(events, audit.Event{Actor: actor, Action: c.Action, Target: c.Target, Project: c.Project, Detail: c.Detail})
		}
		return audit.Write(ctx, store, events...)
	}
}

// AuditActions gives every action of the audit log.
func AuditActions() []string {
	return slices.Concat(apikey.Actions(), adminapi.Actions(), []string{webhook.SoftLimitCrossed, task.Approved, task.Denied, audit.Refused, audit.Dropped})
}

// openTrace makes the audit log and the webhook. The archive must be there.
func (a *App) openTrace(ctx context.Context, store audit.Store) error {
	a.audit = audit.NewLog(audit.Options{Store: store, Logger: a.log})
	a.later(a.audit.Close)
	hook, err := webhook.New(ctx, webhook.Options{
		URL: a.config.WebhookURL.Reveal(), Secret: a.config.WebhookSecret.Reveal(), Archive: a.archive, Nodes: a.member, Logger: a.log,
	})
	if err != nil {
		return fmt.Errorf("--webhook-url, CLAUDE_API_WEBHOOK_SECRET: %w", err)
	}
	a.webhook = hook
	a.later(func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, webhookFlush)
		defer cancel()
		if err := hook.Close(ctx); err != nil {
			a.log.LogAttrs(ctx, slog.LevelWarn, "a notification is left for the next start", slog.Any("error", err))
		}
		return nil
	})
	return nil
}

// crossed gives what tells of a soft limit, without waiting: the webhook's Sender
// knows whether it is news.
func (a *App) crossed(store audit.Store) func(c admission.Crossing) {
	return func(c admission.Crossing) {
		event := webhook.OfSoftLimit(c.Limit, c.ProjectID, c.Start, c.Spent)
		event.News = func(ctx context.Context) { a.note(ctx, store, c) }
		a.webhook.Notify(event)
	}
}

// note writes a soft limit that was reached into the log and the audit log.
func (a *App) note(ctx context.Context, store audit.Store, c admission.Crossing) {
	spent, soft := inUnit(c.Spent, c.Limit.Unit), inUnit(c.Limit.Soft, c.Limit.Unit)
	a.log.LogAttrs(ctx, slog.LevelWarn, "a budget's soft limit is reached",
		slog.String("owner_kind", string(c.Limit.Owner.Kind)), slog.String("owner", c.Limit.Owner.ID), slog.String("project", c.ProjectID),
		slog.String("period", string(c.Limit.Period)), slog.String("spent", spent), slog.String("soft_limit", soft))
	event := audit.Event{
		Action: webhook.SoftLimitCrossed, Target: c.Limit.Owner.ID, Project: c.ProjectID,
		Detail: fmt.Sprintf("%s, period %s, %s of %s spent", c.Limit.Owner.Kind, c.Limit.Period, spent, soft),
	}
	if err := audit.Write(ctx, store, event); err != nil {
		a.audit.Record(event) // which tries again, and says what fails
	}
}

func inUnit(n int64, unit budget.Unit) string {
	if unit == budget.USD {
		return strconv.FormatFloat(float64(n)/1e6, 'f', -1, 64) + " USD"
	}
	return strconv.FormatInt(n, 10) + " tokens"
}
