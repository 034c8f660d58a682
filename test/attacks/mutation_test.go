// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build mutation

package attacks

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/kubernetes"
	admissionclient "k8s.io/client-go/kubernetes/typed/admissionregistration/v1"

	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/yaml"

	"github.com/valetkey/valetkey/hack/jobfields/rule"
	"github.com/valetkey/valetkey/internal/policy"
	"github.com/valetkey/valetkey/test/manifests"
)

// mutant is one rule, or one part of it, taken out.
type mutant struct {
	rule, what string
	apply      func(context.Context) error
	undo       func(context.Context) error
}

// TestMutation takes out each rule, and each validation and mutation within it, in turn: a row must miss it.
func TestMutation(t *testing.T) {
	ctx := t.Context()
	w := newWorld(ctx, t)
	client := kubernetes.NewForConfigOrDie(w.configs[admin]).AdmissionregistrationV1()
	out := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(out, "RULE\tTAKEN OUT\tMISSED BY")
	byRule := map[string][]row{}
	for _, r := range rows() {
		byRule[r.rule] = append(byRule[r.rule], r)
	}
	survivors := 0
	for _, m := range mutants(ctx, t, client) {
		missed, err := m.missedBy(ctx, w, byRule[m.rule])
		if err != nil {
			t.Fatalf("%s, %s: %v", m.rule, m.what, err)
		}
		if len(missed) == 0 {
			survivors++
			t.Errorf("nobody missed %s: %s", m.rule, m.what)
		}
		_, _ = fmt.Fprintf(out, "%s\t%s\t%d of %d rows: %s\n", m.rule, m.what, len(missed), len(byRule[m.rule]), some(missed))
	}
	if err := out.Flush(); err != nil {
		t.Fatal(err)
	}
	fmt.Printf("%d survivors\n", survivors)
}

// missedBy takes the rule out, asks the rule's rows which of them do not hold any more, and puts the rule back.
func (m mutant) missedBy(ctx context.Context, w *world, rows []row) ([]string, error) {
	if err := m.apply(ctx); err != nil {
		return nil, err
	}
	if err := manifests.InForce(ctx, w.configs[admin]); err != nil {
		return nil, err
	}
	missed, err := broken(ctx, w, rows)
	if err != nil {
		return nil, err
	}
	if err := m.undo(ctx); err != nil {
		return nil, err
	}
	if err := manifests.InForce(ctx, w.configs[admin]); err != nil {
		return nil, err
	}
	still, err := broken(ctx, w, rows)
	if err == nil && len(still) > 0 {
		err = fmt.Errorf("with the rule back in its place, %s", some(still))
	}
	return missed, err
}

// broken names the rows that do not hold. An API server that does not answer is an error, not a row that was missed.
func broken(ctx context.Context, w *world, rows []row) ([]string, error) {
	var names []string
	for _, r := range rows {
		err := r.holds(ctx, w)
		if err == nil {
			continue
		}
		if utilnet.IsConnectionRefused(err) || utilnet.IsConnectionReset(err) || utilnet.IsTimeout(err) || apierrors.IsTooManyRequests(err) || apierrors.IsServerTimeout(err) {
			return nil, fmt.Errorf("%s: %w", r.name, err)
		}
		names = append(names, r.name)
	}
	return names, nil
}

// some is the first few of the names.
func some(names []string) string {
	const most = 3
	if len(names) <= most {
		return strings.Join(names, "; ")
	}
	return strings.Join(names[:most], "; ") + "; …"
}

func mutants(ctx context.Context, t *testing.T, client admissionclient.AdmissionregistrationV1Interface) []mutant {
	t.Helper()
	var all []mutant
	validating, err := client.ValidatingAdmissionPolicies().List(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range validating.Items {
		all = append(all, validatingMutants(client, &validating.Items[i])...)
		if validating.Items[i].Name == rule.Name {
			all = append(all, fieldMutants(t, client, &validating.Items[i])...)
		}
	}
	mutating, err := client.MutatingAdmissionPolicies().List(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range mutating.Items {
		all = append(all, mutatingMutants(client, &mutating.Items[i])...)
	}
	return all
}

// storing changes the spec of a rule, beginning from what it was.
func storing(client admissionclient.AdmissionregistrationV1Interface, p *admissionv1.ValidatingAdmissionPolicy) func(context.Context, func(*admissionv1.ValidatingAdmissionPolicySpec)) error {
	return func(ctx context.Context, change func(*admissionv1.ValidatingAdmissionPolicySpec)) error {
		// The controller manager writes into the status what it thinks of the types.
		return retry.RetryOnConflict(retry.DefaultRetry, func() error {
			stored, err := client.ValidatingAdmissionPolicies().Get(ctx, p.Name, metav1.GetOptions{})
			if err != nil {
				return err
			}
			stored.Spec = *p.Spec.DeepCopy()
			change(&stored.Spec)
			_, err = client.ValidatingAdmissionPolicies().Update(ctx, stored, metav1.UpdateOptions{})
			return err
		})
	}
}

// fieldMutants allow, one after the other, each field that the table refuses: the rule is written anew from a table in which that row
// says that it is harmless. Fields that this API server drops are left out.
func fieldMutants(t *testing.T, client admissionclient.AdmissionregistrationV1Interface, p *admissionv1.ValidatingAdmissionPolicy) []mutant {
	t.Helper()
	store := storing(client, p)
	undo := func(ctx context.Context) error {
		return store(ctx, func(*admissionv1.ValidatingAdmissionPolicySpec) {})
	}
	var all []mutant
	for _, f := range policy.Fields() {
		name := f.Type + "." + f.Name
		if f.Class != policy.Refused || len(f.Values) > 0 || len(refusedFields[name]) == 0 || slices.Contains(dropped, name) {
			continue
		}
		spec := withField(t, f)
		all = append(all, mutant{p.Name, "the row of " + name, func(ctx context.Context) error {
			return store(ctx, func(s *admissionv1.ValidatingAdmissionPolicySpec) {
				s.Variables, s.Validations = spec.Variables, spec.Validations
			})
		}, undo})
	}
	return all
}

// withField is the rule as it would be if a field was harmless.
func withField(t *testing.T, f policy.Field) admissionv1.ValidatingAdmissionPolicySpec {
	t.Helper()
	types := policy.Structs()
	for i := range types {
		for j := range types[i].Fields {
			if at := &types[i].Fields[j]; types[i].Name == f.Type && at.Name == f.Name {
				at.Class = policy.Harmless
			}
		}
	}
	var p admissionv1.ValidatingAdmissionPolicy
	text, _, _ := strings.Cut(rule.YAML(types), "\n---\n")
	if err := yaml.Unmarshal([]byte(text), &p); err != nil {
		t.Fatal(err)
	}
	return p.Spec
}

func validatingMutants(client admissionclient.AdmissionregistrationV1Interface, p *admissionv1.ValidatingAdmissionPolicy) []mutant {
	store := storing(client, p)
	undo := func(ctx context.Context) error {
		return store(ctx, func(*admissionv1.ValidatingAdmissionPolicySpec) {})
	}
	var all []mutant
	for i, v := range p.Spec.Validations {
		all = append(all, mutant{p.Name, firstWords(v.Message + v.MessageExpression), func(ctx context.Context) error {
			return store(ctx, func(s *admissionv1.ValidatingAdmissionPolicySpec) { s.Validations[i].Expression = "true" })
		}, undo})
	}
	return append(all, bindingMutant(client, p.Name, true))
}

func mutatingMutants(client admissionclient.AdmissionregistrationV1Interface, p *admissionv1.MutatingAdmissionPolicy) []mutant {
	store := func(ctx context.Context, change func(*admissionv1.MutatingAdmissionPolicySpec)) error {
		stored, err := client.MutatingAdmissionPolicies().Get(ctx, p.Name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		stored.Spec = *p.Spec.DeepCopy()
		change(&stored.Spec)
		_, err = client.MutatingAdmissionPolicies().Update(ctx, stored, metav1.UpdateOptions{})
		return err
	}
	undo := func(ctx context.Context) error { return store(ctx, func(*admissionv1.MutatingAdmissionPolicySpec) {}) }
	var all []mutant
	for i := range p.Spec.Mutations {
		all = append(all, mutant{p.Name, fmt.Sprintf("mutation %d", i+1), func(ctx context.Context) error {
			return store(ctx, func(s *admissionv1.MutatingAdmissionPolicySpec) {
				s.Mutations[i].JSONPatch = &admissionv1.JSONPatch{Expression: `true ? [] : [JSONPatch{op: "remove", path: "/none"}]`}
			})
		}, undo})
	}
	return append(all, bindingMutant(client, p.Name, false))
}

// bindingMutant unbinds a whole policy. Taking the binding away and making it again is what an administrator would do by mistake.
func bindingMutant(client admissionclient.AdmissionregistrationV1Interface, name string, validating bool) mutant {
	var before any
	return mutant{name, "its binding", func(ctx context.Context) error {
		if validating {
			stored, err := client.ValidatingAdmissionPolicyBindings().Get(ctx, name, metav1.GetOptions{})
			if err != nil {
				return err
			}
			before = stored
			return client.ValidatingAdmissionPolicyBindings().Delete(ctx, name, metav1.DeleteOptions{})
		}
		stored, err := client.MutatingAdmissionPolicyBindings().Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		before = stored
		return client.MutatingAdmissionPolicyBindings().Delete(ctx, name, metav1.DeleteOptions{})
	}, func(ctx context.Context) (err error) {
		switch b := before.(type) {
		case *admissionv1.ValidatingAdmissionPolicyBinding:
			b.ObjectMeta = metav1.ObjectMeta{Name: name}
			_, err = client.ValidatingAdmissionPolicyBindings().Create(ctx, b, metav1.CreateOptions{})
		case *admissionv1.MutatingAdmissionPolicyBinding:
			b.ObjectMeta = metav1.ObjectMeta{Name: name}
			_, err = client.MutatingAdmissionPolicyBindings().Create(ctx, b, metav1.CreateOptions{})
		}
		return err
	}}
}

func firstWords(message string) string {
	message = strings.Join(strings.Fields(message), " ")
	if len(message) > 60 {
		return message[:60] + "…"
	}
	return message
}
