// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package limits

import (
	"cmp"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

// waiter is a request in line.
type waiter struct {
	policy  string
	key     types.NamespacedName
	uid     types.UID
	created time.Time
	// version is the resourceVersion of the request that put it in line. What a watch tells of an earlier state is old
	// news.
	version string
	// woken reports whether it was told that it is its turn, and has not asked for a slot since.
	woken bool
	// next is the instant at which the request was told to expect room; zero if none.
	next time.Time
}

func nameOf(object metav1.Object) types.NamespacedName {
	return types.NamespacedName{Namespace: object.GetNamespace(), Name: object.GetName()}
}

func newWaiter(policy string, r *v1alpha1.CapabilityRequest) *waiter {
	return &waiter{
		policy:  policy,
		key:     nameOf(r),
		uid:     r.UID,
		created: r.CreationTimestamp.Time,
		version: r.ResourceVersion,
	}
}

// compare orders by creation, and by name what was created within the same second.
func (w *waiter) compare(other *waiter) int {
	return cmp.Or(w.created.Compare(other.created), cmp.Compare(w.key.Namespace, other.key.Namespace),
		cmp.Compare(w.key.Name, other.key.Name), cmp.Compare(w.uid, other.uid))
}

// place is how many in line come before a request.
func (a *account) place(w *waiter) int {
	at, _ := slices.BinarySearchFunc(a.line, w, (*waiter).compare)
	return at
}

// enter puts a request in line, in the place of whatever line it was in, and returns the policies whose line that
// changes.
func (l *Ledger) enter(w *waiter) []string {
	changed := append(l.leave(w.key), w.policy)
	a := l.account(w.policy)
	a.line = slices.Insert(a.line, a.place(w), w)
	l.waiters[w.key] = w
	return changed
}

// leave takes a request out of its line.
func (l *Ledger) leave(key types.NamespacedName) []string {
	w := l.waiters[key]
	if w == nil {
		return nil
	}
	delete(l.waiters, key)
	a := l.accounts[w.policy]
	a.line = slices.DeleteFunc(a.line, func(other *waiter) bool { return other == w })
	return []string{w.policy}
}

// Request tells of a request as it is now. It is in line as long as its status says that it waits for room: also
// after a restart, and in a process that does not lead. When it leaves the line, the turn passes on to the next.
func (l *Ledger) Request(r *v1alpha1.CapabilityRequest) {
	l.change(func(time.Time) []string {
		key := nameOf(r)
		w, name := l.waiters[key], waitsUnder(r)
		switch {
		case w != nil && w.uid == r.UID && !newer(r.ResourceVersion, w.version):
			return nil
		case name == "":
			return l.leave(key)
		case w != nil && w.uid == r.UID && w.policy == name:
			w.version = r.ResourceVersion
			return nil
		default:
			return l.enter(newWaiter(name, r))
		}
	})
}

// RequestGone tells that a request was removed.
func (l *Ledger) RequestGone(r *v1alpha1.CapabilityRequest) {
	l.change(func(time.Time) []string {
		if w := l.waiters[nameOf(r)]; w == nil || w.uid != r.UID {
			return nil
		}
		return l.leave(nameOf(r))
	})
}

// waitsUnder is the policy under which a request waits for room; empty if it does not.
func waitsUnder(r *v1alpha1.CapabilityRequest) string {
	allowed := meta.FindStatusCondition(r.Status.Conditions, v1alpha1.ConditionAllowed)
	if allowed == nil || allowed.Reason != v1alpha1.ReasonLimitReached || r.Status.Policy == nil {
		return ""
	}
	if r.Status.EndedAt != nil || r.Status.GrantName != "" || r.DeletionTimestamp != nil {
		return ""
	}
	return r.Status.Policy.Name
}

// newer reports whether a resourceVersion is later than another. Where that cannot be told, it is.
func newer(version, than string) bool {
	order, err := resourceversion.CompareResourceVersion(version, than)
	return err != nil || order > 0
}
