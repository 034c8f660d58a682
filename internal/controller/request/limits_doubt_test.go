// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package request_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/controller/controllertest"
)

func TestLimits_GrantWhoseCreationIsInDoubt(t *testing.T) {
	creates := func(object client.Object, verb, name string) bool {
		g, ok := object.(*v1alpha1.CapabilityGrant)
		return ok && verb == "create" && g.Name == name
	}
	t.Run("is adopted if it is there", func(t *testing.T) {
		e, o := begin(t, v1alpha1.RevocationImmediate, 1)
		e.Faults.After = func(verb string, object client.Object) error {
			if creates(object, verb, "a") {
				e.Faults.After = nil
				o.Ask("b")
				return controllertest.Unreachable()
			}
			return nil
		}
		ask(o, "a")
		o.Advance(2 * time.Second)
		expectGranted(e, "a")
		expectWaits(e, "b", "1 does")
	})
	t.Run("holds its slot until it is known not to be there", func(t *testing.T) {
		e, o := begin(t, v1alpha1.RevocationImmediate, 1)
		fails := true
		e.Faults.Before = func(verb string, object client.Object) error {
			if fails && creates(object, verb, "a") {
				return controllertest.Unreachable()
			}
			return nil
		}
		e.Ask("a")
		e.Ask("b")
		o.Run()
		expectGranted(e)
		expectWaits(e, "b", "1 does")
		fails = false
		o.Advance(2 * time.Second)
		expectGranted(e, "a")
	})
	t.Run("gives its slot back if the request is refused", func(t *testing.T) {
		e, o := begin(t, v1alpha1.RevocationImmediate, 1)
		e.Faults.Before = func(verb string, object client.Object) error {
			if creates(object, verb, "a") {
				e.DeleteJob("a")
				return controllertest.Unreachable()
			}
			return nil
		}
		e.Ask("a")
		e.Ask("b")
		o.Run()
		if e.Request("a").Status.EndedAt == nil {
			t.Fatalf("a is not refused: %+v", allowed(e.Request("a")))
		}
		expectGranted(e, "b")
	})
	t.Run("is looked for past the cache", func(t *testing.T) {
		e, o := begin(t, v1alpha1.RevocationImmediate, 1)
		o.Requests.Client = withoutGrants{o.Requests.Client}
		e.Faults.Before = func(verb string, object client.Object) error {
			if creates(object, verb, "a") {
				o.Pause() // no watch shows it
			}
			return nil
		}
		e.Faults.After = func(verb string, object client.Object) error {
			if creates(object, verb, "a") {
				e.DeleteJob("a")
				return controllertest.Unreachable()
			}
			return nil
		}
		e.Ask("a")
		o.Advance(2 * time.Second)
		expectGranted(e, "a") // and not refused, for want of its Job
	})
	t.Run("gives its slot back if another grant of its name went before it could be read", func(t *testing.T) {
		e, o := begin(t, v1alpha1.RevocationImmediate, 1)
		e.Faults.Before = func(verb string, object client.Object) error {
			if creates(object, verb, "a") {
				e.DeleteJob("a")
				return apierrors.NewAlreadyExists(schema.GroupResource{Resource: "capabilitygrants"}, "a")
			}
			return nil
		}
		e.Ask("a")
		e.Ask("b")
		o.Advance(2 * time.Second)
		if e.Request("a").Status.EndedAt == nil {
			t.Fatalf("a is not refused: %+v", allowed(e.Request("a")))
		}
		expectGranted(e, "b")
	})
	t.Run("gives its slot back if the request is deleted", func(t *testing.T) {
		e, o := begin(t, v1alpha1.RevocationImmediate, 1)
		e.Faults.Before = func(verb string, object client.Object) error {
			if creates(object, verb, "a") {
				return controllertest.Unreachable()
			}
			return nil
		}
		e.Ask("a")
		e.Ask("b")
		o.Run()
		e.Withdraw("a")
		o.Run()
		expectGranted(e, "b")
	})
}

func TestLimits_GrantThatWasRefusedGivesItsSlotBackAtOnce(t *testing.T) {
	e, o := begin(t, v1alpha1.RevocationImmediate, 1)
	e.Faults.Before = func(verb string, object client.Object) error {
		if g, ok := object.(*v1alpha1.CapabilityGrant); ok && verb == "create" && g.Name == "a" {
			return apierrors.NewForbidden(
				schema.GroupResource{Resource: "capabilitygrants"},
				"a",
				errors.New("a webhook refused it"),
			)
		}
		return nil
	}
	e.Ask("a")
	e.Ask("b")
	o.Run()
	expectGranted(e, "b")
}

// TestGrant_ThatIsRefusedIsSaidInTheWordsOfTheAPIServer: a quota on grants, or somebody's webhook.
func TestGrant_ThatIsRefusedIsSaidInTheWordsOfTheAPIServer(t *testing.T) {
	e, o := begin(t, v1alpha1.RevocationImmediate, 1)
	e.Faults.Before = func(verb string, object client.Object) error {
		if _, ok := object.(*v1alpha1.CapabilityGrant); ok && verb == "create" {
			return apierrors.NewForbidden(schema.GroupResource{Resource: "capabilitygrants"}, "a", errors.New("exceeded quota: grants"))
		}
		return nil
	}
	e.Ask("a")
	o.Run()
	if c := allowed(e.Request("a")); c.Reason != v1alpha1.ReasonIndeterminate || !strings.Contains(c.Message, "the grant cannot be stored: ") ||
		!strings.Contains(c.Message, "exceeded quota: grants") {
		t.Errorf("it says %s: %s", c.Reason, c.Message)
	}
}

// withoutGrants is a client whose cache shows no grant yet.
type withoutGrants struct{ client.Client }

func (w withoutGrants) Get(ctx context.Context, key client.ObjectKey, object client.Object, opts ...client.GetOption) error {
	if _, ok := object.(*v1alpha1.CapabilityGrant); ok {
		return apierrors.NewNotFound(schema.GroupResource{Resource: "capabilitygrants"}, key.Name)
	}
	return w.Client.Get(ctx, key, object, opts...)
}
