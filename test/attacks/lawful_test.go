// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build integration

package attacks

import (
	"context"
	"fmt"
	"reflect"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

// TestLawfulUse does, to requests, grants, namespaces and identities, what people and Kubernetes do every day.
func TestLawfulUse(t *testing.T) {
	w := newWorld(t.Context(), t)
	for _, group := range []map[string]func(context.Context) error{w.lawfulRequests(), w.lawfulGrants(), w.lawfulNamespaces(), w.lawfulIdentities(), w.lawfulJobs()} {
		for name, do := range group {
			t.Run(name, func(t *testing.T) {
				if err := do(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
	}
	t.Run("a request is deleted in the foreground and takes all with it", func(t *testing.T) {
		w.ends(t, "foreground", func(ctx context.Context) error {
			foreground := metav1.DeletePropagationForeground
			return w.clients[admin].Resource(kinds["CapabilityRequest"]).Namespace("foreground").Delete(ctx, "r", metav1.DeleteOptions{PropagationPolicy: &foreground})
		})
	})
	t.Run("a namespace with a living grant is deleted", func(t *testing.T) {
		w.ends(t, "doomed", func(ctx context.Context) error {
			return w.clients[admin].Resource(kinds["Namespace"]).Delete(ctx, "doomed", metav1.DeleteOptions{})
		})
		eventually(t, func() error { return w.gone(t.Context(), "Namespace", "", "doomed") })
	})
}

func (w *world) patched(by, kind, name, subresource, body string) func(context.Context) error {
	return func(ctx context.Context) error { return w.patch(ctx, by, kind, name, subresource, body) }
}

func (w *world) made(by string, o *unstructured.Unstructured) func(context.Context) error {
	return func(ctx context.Context) error { return w.create(ctx, by, o) }
}

func (w *world) removed(by, kind, name string, how metav1.DeletionPropagation) func(context.Context) error {
	return func(ctx context.Context) error {
		return w.delete(ctx, by, kind, name, metav1.DeleteOptions{PropagationPolicy: &how})
	}
}

// replaced sends back what was read, as kubectl replace does.
func (w *world) replaced(by, kind, name string, subresources ...string) func(context.Context) error {
	ns := namespace
	if kind == "Namespace" {
		ns = ""
	}
	return func(ctx context.Context) error {
		client := w.clients[by].Resource(kinds[kind]).Namespace(ns)
		o, err := client.Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		_, err = client.Update(ctx, o, metav1.UpdateOptions{DryRun: dryRun}, subresources...)
		return err
	}
}

func (w *world) lawfulRequests() map[string]func(context.Context) error {
	decide := func(name, how, rest string) func(context.Context) error {
		return w.patched(alice, "CapabilityRequest", name, "", fmt.Sprintf(`{"metadata":{"annotations":{"valetkey.dev/%s":%q%s}}}`, how, digest, rest))
	}
	const request = "CapabilityRequest"
	return map[string]func(context.Context) error{
		"a request with a generated name":        w.made(agent, w.request0("", set("metadata.generateName", "pr-"))),
		"a request with labels and notes":        w.made(agent, w.request0("q", label("metadata.labels", "a", "b"), label("metadata.annotations", "c", "d"))),
		"an approval":                            decide(waiting, "approve", ""),
		"a denial with a reason":                 decide(waiting, "deny", `,"valetkey.dev/reason":"not today"`),
		"a reason of 1,024 characters":           decide(waiting, "approve", `,"valetkey.dev/reason":"`+strings.Repeat("ü", 1024)+`"`),
		"a denial of what was granted":           decide(granted, "deny", ""),
		"a change of mind before it is granted":  decide(denied, "approve", `,"valetkey.dev/reason":"looked again"`),
		"a label by somebody who cannot approve": w.patched(viewer, request, denied, "", `{"metadata":{"labels":{"a":"b"}}}`),
		"a note by somebody who cannot approve":  w.patched(viewer, request, denied, "", `{"metadata":{"annotations":{"a":"b"}}}`),
		"a request sent back unchanged":          w.replaced(viewer, request, denied),
		"a request applied again by its agent":   w.appliedAgain("agent", agent),
		"a request applied by another manager":   w.appliedAgain("argocd", viewer),
		"a request deleted in the background":    w.removed(agent, request, granted, metav1.DeletePropagationBackground),
		"a request deleted in the foreground":    w.removed(agent, request, granted, metav1.DeletePropagationForeground),
		"a request deleted without a word of how": func(ctx context.Context) error {
			return w.delete(ctx, agent, request, granted, metav1.DeleteOptions{})
		},
		"a status that says more":             w.patched(operator, request, granted, "status", `{"status":{"policy":{"name":"p","generation":1}}}`),
		"a status that leaves the rest alone": func(ctx context.Context) error { return w.statusOnly(ctx) },
	}
}

// appliedAgain applies the labels of a request by server-side apply.
func (w *world) appliedAgain(manager, by string) func(context.Context) error {
	return func(ctx context.Context) error {
		body := fmt.Sprintf(`{"apiVersion":"valetkey.dev/v1alpha1","kind":"CapabilityRequest","metadata":{"name":%q,"labels":{%q:"x"}}}`, denied, manager)
		_, err := w.clients[by].Resource(kinds["CapabilityRequest"]).Namespace(namespace).
			Patch(ctx, denied, types.ApplyYAMLPatchType, []byte(body), metav1.PatchOptions{FieldManager: manager, DryRun: dryRun})
		return err
	}
}

// statusOnly sees that what the operator writes through the status changes neither spec nor decisions.
func (w *world) statusOnly(ctx context.Context) error {
	before, err := w.clients[admin].Resource(kinds["CapabilityRequest"]).Namespace(namespace).Get(ctx, denied, metav1.GetOptions{})
	if err != nil {
		return err
	}
	after, err := w.patching(ctx, operator, "CapabilityRequest", denied, "status", `{"spec":{"repo":"payments"},"decisions":[],"metadata":{"labels":{"a":"b"}}}`)
	if err != nil {
		return err
	}
	for _, part := range []string{"spec", "decisions"} {
		if !reflect.DeepEqual(before.Object[part], after.Object[part]) {
			return fmt.Errorf("the status changed %s to %v", part, after.Object[part])
		}
	}
	return nil
}

func (w *world) lawfulGrants() map[string]func(context.Context) error {
	const grant = "CapabilityGrant"
	return map[string]func(context.Context) error{
		"a revocation":                               w.patched(alice, grant, granted, "", `{"metadata":{"annotations":{"valetkey.dev/revoke":"seen enough"}}}`),
		"a revocation without a reason":              w.patched(alice, grant, granted, "", `{"metadata":{"annotations":{"valetkey.dev/revoke":""}}}`),
		"a grant sent back unchanged":                w.replaced(viewer, grant, granted),
		"a grant deleted in the background":          w.removed(alice, grant, granted, metav1.DeletePropagationBackground),
		"a grant deleted in the foreground":          w.removed(alice, grant, granted, metav1.DeletePropagationForeground),
		"the operator lets a grant go":               w.patched(operator, grant, granted, "", `{"metadata":{"finalizers":null}}`),
		"the operator counts another attempt":        w.patched(operator, grant, granted, "status", `{"status":{"attempt":2}}`),
		"the garbage collector unblocks its request": w.unblocked(grant, func() string { return granted }),
		"the operator deletes its Pod, with the grace that it has": func(ctx context.Context) error {
			grace, background := int64(v1alpha1.PodGraceSeconds), metav1.DeletePropagationBackground
			return w.delete(ctx, operator, "Pod", w.pod, metav1.DeleteOptions{GracePeriodSeconds: &grace, PropagationPolicy: &background})
		},
		"the operator tries a Pod by a dry run": func(ctx context.Context) error {
			_, err := w.clients[operator].Resource(kinds["Pod"]).Namespace(namespace).Create(ctx, w.pod0("tried"), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
			return err
		},
		"the garbage collector unblocks its Job": w.unblocked("Pod", func() string { return w.pod }),
		"the operator ends a grant":              w.patched(operator, grant, granted, "status", `{"status":{"outcome":"Completed","endedAt":"2026-05-09T11:48:00Z"}}`),
	}
}

func (w *world) lawfulNamespaces() map[string]func(context.Context) error {
	labels := func(by, ns, key, value string) func(context.Context) error {
		return w.patched(by, "Namespace", ns, "", fmt.Sprintf(`{"metadata":{"labels":{%q:%s}}}`, key, value))
	}
	const security = "pod-security.kubernetes.io/enforce"
	return map[string]func(context.Context) error{
		"a label on a namespace in use":                labels(mallory, namespace, "team", `"web"`),
		"stricter Pod Security under a living grant":   labels(admin, namespace, security, `"restricted"`),
		"Pod Security's warnings under a living grant": labels(admin, namespace, "pod-security.kubernetes.io/warn", `"restricted"`),
		"the operator marks a namespace":               labels(operator, plain, "valetkey.dev/in-use", `"true"`),
		"the operator unmarks a namespace":             labels(operator, namespace, "valetkey.dev/in-use", `null`),
		"a namespace is enrolled":                      labels(admin, plain, "valetkey.dev/enrolled", `"true"`),
		"a namespace that is not ours is opened":       labels(admin, plain, security, `"privileged"`),
		"a label on the identities' namespace":         labels(admin, identities, "team", `"web"`),
		"a namespace sent back unchanged":              w.replaced(admin, "Namespace", namespace),
		"a namespace's status sent back":               w.replaced(admin, "Namespace", namespace, "status"),
		"a namespace's finalizers sent back":           w.replaced(admin, "Namespace", namespace, "finalize"),
		"a new namespace":                              w.made(admin, object("Namespace", "", "q", nil)),
		"a new namespace of identities":                w.made(admin, object("Namespace", "", "q", nil, label("metadata.labels", "valetkey.dev/identities", "true"))),
		"Pod Security lowered where no grant lives":    w.lowered,
		"an administrator removes the identities": func(ctx context.Context) error {
			return w.clients[admin].Resource(kinds["Namespace"]).Delete(ctx, identities, metav1.DeleteOptions{DryRun: dryRun})
		},
		"a namespace in use is deleted": func(ctx context.Context) error {
			return w.clients[admin].Resource(kinds["Namespace"]).Delete(ctx, namespace, metav1.DeleteOptions{DryRun: dryRun})
		},
	}
}

// lowered goes from restricted to baseline in a namespace in which nothing was granted.
func (w *world) lowered(ctx context.Context) error {
	const security = "pod-security.kubernetes.io/enforce"
	if err := w.stored(ctx, kinds["Namespace"], object("Namespace", "", "idle", nil, label("metadata.labels", "valetkey.dev/enrolled", "true"), label("metadata.labels", security, "restricted"))); err != nil {
		return err
	}
	return w.patch(ctx, admin, "Namespace", "idle", "", `{"metadata":{"labels":{"pod-security.kubernetes.io/enforce":"baseline"}}}`)
}

func (w *world) lawfulIdentities() map[string]func(context.Context) error {
	short := int64(600)
	asks := func(by, ns string, spec authenticationv1.TokenRequestSpec) func(context.Context) error {
		return func(ctx context.Context) error { return w.token(ctx, by, ns, spec) }
	}
	return map[string]func(context.Context) error{
		"the operator asks for a token of an identity": asks(operator, identities, authenticationv1.TokenRequestSpec{Audiences: []string{"sts.amazonaws.com"}, ExpirationSeconds: &short}),
		"the operator asks for a token that is bound to an anchor": asks(operator, identities, authenticationv1.TokenRequestSpec{
			BoundObjectRef: &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Secret", Name: anchor}}),
		"the operator makes an anchor": w.made(operator, w.anchor(set("metadata.name", anchor+"0"))),
		"the operator deletes an anchor": func(ctx context.Context) error {
			background := metav1.DeletePropagationBackground
			client := w.clients[operator].Resource(kinds["Secret"]).Namespace(identities)
			if _, err := client.Create(ctx, w.anchor(set("metadata.name", anchor+"0")), metav1.CreateOptions{}); err != nil {
				return err
			}
			return client.Delete(ctx, anchor+"0", metav1.DeleteOptions{PropagationPolicy: &background})
		},
		"others ask for tokens elsewhere":   asks(admin, namespace, authenticationv1.TokenRequestSpec{}),
		"a ServiceAccount for a capability": w.made(mallory, object("ServiceAccount", identities, "q", nil, label("metadata.annotations", "valetkey.dev/capability", "publish-preview-build"))),
		"a Secret among the identities":     w.made(mallory, object("Secret", identities, "q", nil, set("type", "Opaque"))),
		"a ConfigMap among the identities":  w.made(mallory, object("ConfigMap", identities, "q", nil)),
	}
}

// ends puts a granted request into a namespace of its own, begins to end it, and sees the grant wait for the operator, and then
// all of it go.
func (w *world) ends(t *testing.T, ns string, begin func(context.Context) error) {
	t.Helper()
	ctx := t.Context()
	w.living(ctx, t, ns)
	if err := begin(ctx); err != nil {
		t.Fatal(err)
	}
	grants := w.clients[operator].Resource(kinds["CapabilityGrant"]).Namespace(ns)
	eventually(t, func() error {
		o, err := grants.Get(ctx, "r", metav1.GetOptions{})
		if err != nil {
			return err
		}
		if o.GetDeletionTimestamp() == nil {
			return fmt.Errorf("the grant in %s is not told to go", ns)
		}
		return nil
	})
	eventually(t, func() error { return released(ctx, w, ns) })
	for _, kind := range []string{"CapabilityGrant", "CapabilityRequest"} {
		eventually(t, func() error { return w.gone(ctx, kind, ns, "r") })
	}
}

// living stores a namespace in use, with a request, its grant and the grant's Secret.
func (w *world) living(ctx context.Context, t *testing.T, ns string) {
	t.Helper()
	must := func(o *unstructured.Unstructured, err error) *unstructured.Unstructured {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return o
	}
	in := func(by, kind string) func(*unstructured.Unstructured) *unstructured.Unstructured {
		return func(o *unstructured.Unstructured) *unstructured.Unstructured {
			return must(w.clients[by].Resource(kinds[kind]).Namespace(o.GetNamespace()).Create(ctx, o, metav1.CreateOptions{}))
		}
	}
	in(admin, "Namespace")(object("Namespace", "", ns, nil, label("metadata.labels", "valetkey.dev/enrolled", "true"), label("metadata.labels", "pod-security.kubernetes.io/enforce", "baseline")))
	must(w.apply(ctx, operator, "Namespace", ns, "", nil, `{"metadata":{"labels":{"valetkey.dev/in-use":"true"}}}`))
	here := set("metadata.namespace", ns)
	request := in(admin, "CapabilityRequest")(w.request0("r", here))
	grant := in(operator, "CapabilityGrant")(w.grant0("r", string(request.GetUID()), here, set("metadata.ownerReferences.0.blockOwnerDeletion", true)))
	in(operator, "Secret")(w.secret0("valetkey-"+string(grant.GetUID())+"-1", "valetkey.dev/credential", here, set("immutable", true), set("metadata.ownerReferences", []any{map[string]any{
		"apiVersion": "valetkey.dev/v1alpha1", "kind": "CapabilityGrant", "name": "r", "uid": string(grant.GetUID()), "controller": true, "blockOwnerDeletion": true}})))
}

// released takes the operator's own finalizer off, and leaves the garbage collector's.
func released(ctx context.Context, w *world, ns string) error {
	grants := w.clients[operator].Resource(kinds["CapabilityGrant"]).Namespace(ns)
	o, err := grants.Get(ctx, "r", metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	var rest []string
	for _, f := range o.GetFinalizers() {
		if !strings.HasPrefix(f, "valetkey.dev/") {
			rest = append(rest, f)
		}
	}
	o.SetFinalizers(rest)
	_, err = grants.Update(ctx, o, metav1.UpdateOptions{})
	return err
}

func (w *world) gone(ctx context.Context, kind, ns, name string) error {
	o, err := w.clients[admin].Resource(kinds[kind]).Namespace(ns).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	return fmt.Errorf("%s %s is still there, with the finalizers %v", kind, name, o.GetFinalizers())
}
