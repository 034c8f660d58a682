// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build integration || mutation

package attacks

import (
	"context"
	"fmt"
	"reflect"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
)

// Requests that have ended: one that nobody approved in time, and one after its grant. Alice had approved both.
const (
	refused = "refused"
	over    = "over"
)

const (
	endedAt     = "2026-05-09T11:48:00Z"
	refusedThen = `[{"type":"Allowed","status":"False","reason":"ApprovalTimedOut","message":"m","lastTransitionTime":"` + endedAt + `"},` +
		`{"type":"Ended","status":"True","reason":"Refused","message":"m","lastTransitionTime":"` + endedAt + `"}]`
	overThen = `[{"type":"Allowed","status":"True","reason":"Allowed","message":"m","lastTransitionTime":"` + endedAt + `"},` +
		`{"type":"Ended","status":"True","reason":"GrantEnded","message":"m","lastTransitionTime":"` + endedAt + `"}]`
)

// ended stores a request that alice approved, and has the operator end it, unless that was done before.
func (w *world) ended(ctx context.Context, name string) error {
	if err := w.reviewed(ctx, name); err != nil {
		return err
	}
	status := fmt.Sprintf(`{"status":{"endedAt":%q,"conditions":%s}}`, endedAt, refusedThen)
	if name == over {
		status = fmt.Sprintf(`{"status":{"endedAt":%q,"conditions":%s,"grantName":%q}}`, endedAt, overThen, name)
	}
	o, err := w.clients[admin].Resource(kinds["CapabilityRequest"]).
		Namespace(namespace).
		Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	if _, has, err := unstructured.NestedString(o.Object, "status", "endedAt"); has || err != nil {
		return err
	}
	if _, err := w.apply(ctx, alice, "CapabilityRequest", name, "", nil, annotated("approve", digest, "")); err != nil {
		return err
	}
	_, err = w.apply(ctx, operator, "CapabilityRequest", name, "status", nil, status)
	return err
}

// reviewed stores a request with a review, unless it is there already.
func (w *world) reviewed(ctx context.Context, name string) error {
	_, err := w.clients[agent].Resource(kinds["CapabilityRequest"]).
		Namespace(namespace).
		Create(ctx, w.request0(name), metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	if err == nil {
		_, err = w.apply(
			ctx,
			operator,
			"CapabilityRequest",
			name,
			"status",
			nil,
			fmt.Sprintf(`{"status":{"review":%s}}`, reviewJSON(name)),
		)
	}
	return err
}

// annotated is a decision as somebody annotates it, with a reason if there is one.
func annotated(how, digest, reason string) string {
	if reason != "" {
		return fmt.Sprintf(
			`{"metadata":{"annotations":{"valetkey.dev/%s":%q,"valetkey.dev/reason":%q}}}`,
			how,
			digest,
			reason,
		)
	}
	return fmt.Sprintf(`{"metadata":{"annotations":{"valetkey.dev/%s":%q}}}`, how, digest)
}

// late is an attack on a request that has ended.
func late(name, body string) func(context.Context, *world, string) error {
	return func(ctx context.Context, w *world, by string) error {
		if err := w.ended(ctx, name); err != nil {
			return err
		}
		return w.patch(ctx, by, "CapabilityRequest", name, "", body)
	}
}

// as has an administrator decide in the name of somebody, as an authenticator would describe them.
func (w *world) as(
	ctx context.Context,
	who rest.ImpersonationConfig,
	name, body string,
	dry []string,
) (*unstructured.Unstructured, error) {
	config := rest.CopyConfig(w.configs[admin])
	config.Impersonate = who
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	return client.Resource(kinds["CapabilityRequest"]).Namespace(namespace).
		Patch(ctx, name, types.MergePatchType, []byte(body), metav1.PatchOptions{DryRun: dry})
}

// manager is a release manager with so many groups.
func manager(groups int) rest.ImpersonationConfig {
	who := rest.ImpersonationConfig{
		UserName: "carol@example.com",
		UID:      "u",
		Groups:   []string{"release-managers", "system:authenticated"},
	}
	for i := len(who.Groups); i < groups; i++ {
		who.Groups = append(who.Groups, fmt.Sprintf("CN=team-%d,OU=Groups,DC=example,DC=com", i))
	}
	return who
}

func decidesAs(who rest.ImpersonationConfig, how string) func(context.Context, *world, string) error {
	return func(ctx context.Context, w *world, _ string) error {
		_, err := w.as(ctx, who, waiting, annotated(how, digest, ""), dryRun)
		return err
	}
}

func decidedLateRows() []row {
	const rule = "valetkey-decisions"
	byHand := fmt.Sprintf(
		`{"decisions":[{"by":"mallory","groups":["mallories","system:authenticated"],"decision":"Approve","digest":%q}]}`,
		digest,
	)
	const since = " at 2026-05-09T11:48:00Z (ApprovalTimedOut); nothing can be "
	return []row{
		{
			name:  "approving a request that was refused",
			by:    mallory,
			rule:  rule,
			words: "was refused" + since + "approved any more",
			try:   late(refused, annotated("approve", digest, "")),
		},
		{
			name:  "approving once more what was refused",
			by:    alice,
			rule:  rule,
			words: "was refused" + since + "approved any more",
			try:   late(refused, annotated("approve", digest, "")),
		},
		{
			name:  "denying a request that was refused",
			by:    alice,
			rule:  rule,
			words: "was refused" + since + "denied any more",
			try:   late(refused, annotated("deny", digest, "late")),
		},
		{
			name:  "approving after the end by hand",
			by:    mallory,
			rule:  rule,
			words: "was refused" + since + "approved any more",
			try:   late(refused, byHand),
		},
		{
			name:  "approving something else after the end",
			by:    alice,
			rule:  rule,
			words: "was refused" + since + "approved any more",
			try:   late(refused, annotated("approve", wrong, "")),
		},
		{
			name:  "approving after the grant has ended",
			by:    mallory,
			rule:  rule,
			words: "has ended at 2026-05-09T11:48:00Z (GrantEnded); nothing can be approved any more",
			try:   late(over, annotated("approve", digest, "")),
		},
		{
			name:  "denying after the grant has ended",
			by:    alice,
			rule:  rule,
			words: "has ended at 2026-05-09T11:48:00Z (GrantEnded); nothing can be denied any more",
			try:   late(over, annotated("deny", digest, "")),
		},
		{
			name:  "deciding before anything was reviewed",
			by:    alice,
			rule:  rule,
			words: "nothing was reviewed yet",
			try: func(ctx context.Context, w *world, by string) error {
				if err := w.stored(ctx, kinds["CapabilityRequest"], w.request0("unseen")); err != nil {
					return err
				}
				return w.patch(ctx, by, "CapabilityRequest", "unseen", "", annotated("approve", digest, ""))
			},
		},
	}
}

// formRows are decisions that do not fit into the kind's fields: they are refused in words.
func formRows() []row {
	const rule = "valetkey-decisions"
	try := func(how, digest, reason string) func(context.Context, *world, string) error {
		return patches("CapabilityRequest", waiting, "", annotated(how, digest, reason))
	}
	where := "kubectl get capreq waiting -n agents -o jsonpath={.status.review.digest}"
	all := []row{
		{
			name:  "a reason of 1,025 characters",
			by:    alice,
			rule:  rule,
			words: "has 1025 characters; at most 1024",
			try:   try("approve", digest, strings.Repeat("ü", 1025)),
		},
		{
			name:  "a denial with a reason of 10,000 characters",
			by:    alice,
			rule:  rule,
			words: "has 10000 characters; at most 1024",
			try:   try("deny", digest, strings.Repeat("a", 10000)),
		},
		{
			name:  "a reason of two lines",
			by:    alice,
			rule:  rule,
			words: "one line of text",
			try:   try("approve", digest, "fine\nDenied by bob"),
		},
		{
			name:  "a reason that turns text around",
			by:    alice,
			rule:  rule,
			words: "one line of text",
			try:   try("deny", digest, "fine \u202egnihton"),
		},
		{
			name:  "denying without a digest",
			by:    alice,
			rule:  rule,
			words: "valetkey.dev/deny names the digest of what was reviewed",
			try:   try("deny", "", ""),
		},
		{
			name:  "approving in 1,025 groups",
			by:    "carol@example.com",
			rule:  rule,
			words: "1024 groups",
			try:   decidesAs(manager(1025), "approve"),
		},
	}
	for _, value := range []string{"true", strings.ToUpper(digest), "sha256:" + digest, digest[1:], digest + "\n"} {
		all = append(
			all,
			row{
				name:  fmt.Sprintf("approving %.20q", value),
				by:    alice,
				rule:  rule,
				words: where,
				try:   try("approve", value, ""),
			},
		)
	}
	for what, change := range map[string]func(*rest.ImpersonationConfig){
		"with a group of 513 characters": func(c *rest.ImpersonationConfig) { c.Groups = append(c.Groups, strings.Repeat("g", 513)) },
		"with a uid of 513 characters":   func(c *rest.ImpersonationConfig) { c.UID = strings.Repeat("u", 513) },
		"with 65 attributes": func(c *rest.ImpersonationConfig) {
			c.Extra = map[string][]string{}
			for i := range 65 {
				c.Extra[fmt.Sprintf("example.com/a%d", i)] = []string{"x"}
			}
		},
		"with 257 values of an attribute": func(c *rest.ImpersonationConfig) {
			c.Extra = map[string][]string{"example.com/a": make([]string, 257)}
			for i := range c.Extra["example.com/a"] {
				c.Extra["example.com/a"][i] = fmt.Sprint(i)
			}
		},
		"with an attribute of 1,025 characters": func(c *rest.ImpersonationConfig) {
			c.Extra = map[string][]string{"example.com/a": {strings.Repeat("x", 1025)}}
		},
	} {
		who := manager(2)
		change(&who)
		all = append(
			all,
			row{
				name:  "approving " + what,
				by:    "carol@example.com",
				rule:  rule,
				words: "knows you by more than a decision can hold",
				try:   decidesAs(who, "approve"),
			},
		)
	}
	long := manager(2)
	long.UserName = strings.Repeat("n", 513)
	return append(
		all,
		row{
			name:  "denying under a name of 513 characters",
			by:    "somebody",
			rule:  rule,
			words: "a user name",
			try:   decidesAs(long, "deny"),
		},
		row{
			name:  "a denial with forged groups",
			by:    alice,
			rule:  rule,
			words: "one's own name",
			try: patches("CapabilityRequest", waiting, "", fmt.Sprintf(
				`{"decisions":[{"by":"alice@example.com","groups":["release-managers","system:authenticated"],"decision":"Deny","digest":%q}]}`,
				digest,
			)),
		},
		row{
			name:  "a denial with a UID",
			by:    alice,
			rule:  rule,
			words: "one's own name",
			try: patches("CapabilityRequest", waiting, "", fmt.Sprintf(
				`{"decisions":[{"by":"alice@example.com","uid":"forged","decision":"Deny","digest":%q}]}`, digest)),
		},
		row{
			name:  "a denial with attributes",
			by:    alice,
			rule:  rule,
			words: "one's own name",
			try: patches("CapabilityRequest", waiting, "", fmt.Sprintf(
				`{"decisions":[{"by":"alice@example.com","extra":{"a":["b"]},"decision":"Deny","digest":%q}]}`,
				digest,
			)),
		},
	)
}

// fittingRows see that nobody is kept from deciding by how many groups they are in, or by how many others decided before them.
func fittingRows() []row {
	const records = "valetkey-record-decision"
	records1 := func(name string, who rest.ImpersonationConfig, how string, want map[string]any) row {
		return row{name: name, by: who.UserName, rule: records, shows: func(ctx context.Context, w *world) error {
			o, err := w.as(ctx, who, waiting, annotated(how, digest, "seen"), dryRun)
			if err != nil {
				return err
			}
			if got := o.Object["decisions"]; !reflect.DeepEqual(got, []any{want}) {
				return fmt.Errorf("recorded %v", got)
			}
			return nil
		}}
	}
	denial := map[string]any{"by": "carol@example.com", "decision": "Deny", "digest": digest, "reason": "seen"}
	approval := func(who rest.ImpersonationConfig) map[string]any {
		groups := make([]any, len(who.Groups))
		for i, g := range who.Groups {
			groups[i] = g
		}
		return map[string]any{
			"by":       "carol@example.com",
			"uid":      "u",
			"groups":   groups,
			"decision": "Approve",
			"digest":   digest,
			"reason":   "seen",
		}
	}
	many := manager(3000)
	many.UID, many.Extra = strings.Repeat("u", 600), map[string][]string{"example.com/a": {strings.Repeat("x", 2000)}}
	return []row{
		records1("an approval by somebody in 301 groups", manager(301), "approve", approval(manager(301))),
		records1("an approval by somebody in 1,024 groups", manager(1024), "approve", approval(manager(1024))),
		records1("a denial by somebody in 3,000 groups, of whom too much is known", many, "deny", denial),
		{name: "a denial by the 32nd", by: alice, rule: records, shows: func(ctx context.Context, w *world) error {
			if err := w.crowded(ctx); err != nil {
				return err
			}
			return w.patch(ctx, alice, "CapabilityRequest", "crowded", "", annotated("deny", digest, ""))
		}},
		{
			name:  "an approval by the 32nd",
			by:    alice,
			rule:  "valetkey-decisions",
			words: "kept for a denial",
			try: func(ctx context.Context, w *world, by string) error {
				if err := w.crowded(ctx); err != nil {
					return err
				}
				return w.patch(ctx, by, "CapabilityRequest", "crowded", "", annotated("approve", digest, ""))
			},
		},
		{
			name:  "a decision by the 33rd",
			by:    alice,
			rule:  "valetkey-decisions",
			words: "as many as it holds",
			try: func(ctx context.Context, w *world, by string) error {
				if err := w.full(ctx); err != nil {
					return err
				}
				return w.patch(ctx, by, "CapabilityRequest", "full", "", annotated("deny", digest, ""))
			},
		},
	}
}

// crowded is a request that 31 people approved.
func (w *world) crowded(ctx context.Context) error { return w.approvedBy31(ctx, "crowded") }

// full is one that somebody denied, too.
func (w *world) full(ctx context.Context) error {
	if err := w.approvedBy31(ctx, "full"); err != nil {
		return err
	}
	_, err := w.as(ctx, manager(2), "full", annotated("deny", digest, ""), nil)
	return err
}

func (w *world) approvedBy31(ctx context.Context, name string) error {
	if err := w.reviewed(ctx, name); err != nil {
		return err
	}
	for i := range 31 {
		who := manager(2)
		who.UserName = fmt.Sprintf("manager-%d@example.com", i)
		if _, err := w.as(ctx, who, name, annotated("approve", digest, ""), nil); err != nil {
			return err
		}
	}
	return nil
}
