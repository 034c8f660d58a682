// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build integration || mutation

package attacks

import (
	"context"
	"errors"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

// Grants that are not as the others: alice revoked one, which has ended, one ended by itself, and one is being ended.
const (
	revoked   = "revoked"
	completed = "completed"
	ending    = "ending"
)

// retired puts a grant that has ended, or is about to, on stage, unless it is there already.
func (w *world) retired(ctx context.Context, name string) error {
	if err := w.stored(ctx, kinds["CapabilityRequest"], w.request0(name)); err != nil {
		return err
	}
	request, err := w.clients[admin].Resource(kinds["CapabilityRequest"]).Namespace(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	_, err = w.clients[operator].Resource(kinds["CapabilityGrant"]).Namespace(namespace).Create(ctx, w.grant0(name, string(request.GetUID())), metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if name == revoked {
		if _, err := w.apply(ctx, alice, "CapabilityGrant", name, "", nil, `{"metadata":{"annotations":{"valetkey.dev/revoke":"seen enough"}}}`); err != nil {
			return err
		}
	}
	_, err = w.apply(ctx, operator, "CapabilityGrant", name, "status", nil, map[string]string{
		revoked:   `{"status":{"attempt":1,"outcome":"Revoked","endedAt":"2026-05-09T11:48:00Z","stop":{"outcome":"Revoked","reason":"RevokedByAnnotation","at":"2026-05-09T11:48:00Z"}}}`,
		completed: `{"status":{"attempt":1,"outcome":"Completed","endedAt":"2026-05-09T11:48:00Z","stop":{"outcome":"Completed","reason":"JobCompleted","at":"2026-05-09T11:48:00Z"}}}`,
		ending:    `{"status":{"attempt":1,"stop":{"outcome":"Completed","reason":"JobCompleted","at":"2026-05-09T11:48:00Z"}}}`,
	}[name])
	return err
}

// afterwards is an attack on a grant that was revoked and has ended.
func afterwards(subresource, body string) func(context.Context, *world, string) error {
	return lately(revoked, subresource, body)
}

// lately is an attack on a grant that has ended, or is about to.
func lately(grant, subresource, body string) func(context.Context, *world, string) error {
	return func(ctx context.Context, w *world, by string) error {
		if err := w.retired(ctx, grant); err != nil {
			return err
		}
		return w.patch(ctx, by, "CapabilityGrant", grant, subresource, body)
	}
}

func grantEdgeRows() []row {
	const rule, uid = "valetkey-grants", "5e8f1a3c-1111-4222-8333-444455556666"
	grant := func(edits ...edit) func(context.Context, *world, string) error {
		return creates(func(w *world) *unstructured.Unstructured { return w.grant0("forged", uid, edits...) })
	}
	return []row{
		{name: "a grant that another request owns", by: operator, rule: rule, words: "owned by its request", try: grant(set("spec.requestRef.uid", "another"))},
		{name: "a grant whose request is not its controller", by: operator, rule: rule, words: "owned by its request", try: grant(set("metadata.ownerReferences.0.controller", false))},
		{name: "the operator prolongs a grant", by: operator, rule: rule, words: "never changes", try: patches("CapabilityGrant", granted, "", `{"spec":{"ttlSeconds":43200}}`)},
		{name: "the operator relabels a grant", by: operator, rule: rule, words: "labels and owner", try: patches("CapabilityGrant", granted, "", `{"metadata":{"labels":{"a":"b"}}}`)},
		{name: "the operator adds a finalizer to a grant", by: operator, rule: rule, words: "no other finalizers", try: patches("CapabilityGrant", granted, "",
			`{"metadata":{"finalizers":["valetkey.dev/revoke","example.com/hold"]}}`)},
		{name: "a grant's finalizer a thousand times, each of which the operator takes off by itself", by: mallory, rule: rule, words: "no other finalizers", try: patches("CapabilityGrant", granted, "",
			`{"metadata":{"finalizers":["`+strings.Repeat(v1alpha1.FinalizerRevoke+`","`, 1000)+v1alpha1.FinalizerRevoke+`"]}}`)},
		{name: "an administrator removes a grant's finalizer", by: admin, rule: rule, words: "operator removes the finalizer", try: patches("CapabilityGrant", granted, "", `{"metadata":{"finalizers":null}}`)},
		{name: "a grant that is orphaned when it goes", by: mallory, rule: rule, words: "no other finalizers", try: patches("CapabilityGrant", granted, "",
			`{"metadata":{"finalizers":["valetkey.dev/revoke","orphan"]}}`)},
		{name: "deleting a grant apart from its Secret, the old way", by: mallory, rule: rule, words: "cascade", try: orphansTheOldWay("CapabilityGrant", granted)},
		{name: "deleting all grants apart from their Secrets", by: mallory, rule: rule, words: "cascade", try: sweeps("CapabilityGrant")},
		{name: "changes of a grant that say nothing, by which others could be kept from writing it", by: mallory, rule: rule, words: "says nothing", try: patches("CapabilityGrant", granted, "",
			`{"metadata":{"managedFields":[{"manager":"m","operation":"Update","apiVersion":"valetkey.dev/v1alpha1","time":"2026-11-29T00:00:00Z","fieldsType":"FieldsV1","fieldsV1":{"f:metadata":{}}}]}}`)},
		{name: "taking a revocation back", by: mallory, rule: rule, words: "only annotation", try: afterwards("", `{"metadata":{"annotations":{"valetkey.dev/revoke":null}}}`)},
		{name: "another reason for a revocation", by: alice, rule: rule, words: "only annotation", try: afterwards("", `{"metadata":{"annotations":{"valetkey.dev/revoke":"a better one"}}}`)},
		{name: "another name under a revocation", by: mallory, rule: rule, words: "only annotation", try: afterwards("", `{"metadata":{"annotations":{"valetkey.dev/revoked-by":"bob@example.com"}}}`)},
		{name: "taking the name from under a revocation", by: mallory, rule: rule, words: "only annotation", try: afterwards("", `{"metadata":{"annotations":{"valetkey.dev/revoked-by":null}}}`)},
		{name: "revoking in another's name", by: alice, rule: "valetkey-stamp-revoker", shows: revokedInOnesOwnName},
		{name: "an agent grants itself", by: agent, rule: "RBAC", words: "capabilitygrants", try: grant()},
		{name: "abandoning without the verb", by: alice, rule: rule, words: "lacks the verb abandon", try: afterwards("", `{"metadata":{"annotations":{"valetkey.dev/abandon":"x"}}}`)},
		{name: "abandoning a grant that lives", by: mallory, rule: rule, words: "revoke it first", try: patches("CapabilityGrant", granted, "", `{"metadata":{"annotations":{"valetkey.dev/abandon":"x"}}}`)},
		{name: "saying that somebody else abandoned", by: mallory, rule: rule, words: "written by the API server; annotate with valetkey.dev/abandon alone", try: afterwards("", `{"metadata":{"annotations":{"valetkey.dev/abandoned-by":"alice@example.com"}}}`)},
		{name: "revoking a grant that has ended", by: alice, rule: rule, words: "this grant ended at", try: lately(completed, "", `{"metadata":{"annotations":{"valetkey.dev/revoke":"x"}}}`)},
		{name: "abandoning a grant that has ended", by: mallory, rule: rule, words: "nothing can be abandoned any more", try: afterwards("", `{"metadata":{"annotations":{"valetkey.dev/abandon":"x"}}}`)},
		{name: "abandoning in another's name", by: mallory, rule: "valetkey-stamp-revoker", shows: abandonedInOnesOwnName},
		{name: "an agent revokes", by: agent, rule: "RBAC", words: "capabilitygrants", try: patches("CapabilityGrant", granted, "", `{"metadata":{"annotations":{"valetkey.dev/revoke":"x"}}}`)},
		{name: "another outcome of an ended grant", by: operator, rule: "valetkey-status", words: "stays ended", try: afterwards("status", `{"status":{"outcome":"Completed"}}`)},
		{name: "an ended grant without its outcome", by: operator, rule: "valetkey-status", words: "stays ended", try: afterwards("status", `{"status":{"outcome":null}}`)},
		{name: "an ended grant that ended later", by: operator, rule: "valetkey-status", words: "stays ended", try: afterwards("status", `{"status":{"endedAt":"2027-05-09T11:48:00Z"}}`)},
		{name: "an ended grant without a status", by: operator, rule: "valetkey-status", words: "never falls", try: afterwards("status", `{"status":null}`)},
	}
}

func abandonedInOnesOwnName(ctx context.Context, w *world) error {
	if err := w.retired(ctx, ending); err != nil {
		return err
	}
	o, err := w.patching(ctx, mallory, "CapabilityGrant", ending, "", `{"metadata":{"annotations":{"valetkey.dev/abandon":"x","valetkey.dev/abandoned-by":"bob@example.com"}}}`)
	if err == nil && o.GetAnnotations()["valetkey.dev/abandoned-by"] != mallory {
		err = errors.New("it is not marked with who abandoned it")
	}
	return err
}

func revokedInOnesOwnName(ctx context.Context, w *world) error {
	o, err := w.patching(ctx, alice, "CapabilityGrant", granted, "", `{"metadata":{"annotations":{"valetkey.dev/revoke":"x","valetkey.dev/revoked-by":"bob@example.com"}}}`)
	if err == nil && o.GetAnnotations()["valetkey.dev/revoked-by"] != alice {
		err = errors.New("the forged name stands")
	}
	return err
}
