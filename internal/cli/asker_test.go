// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
	authenticationv1 "k8s.io/api/authentication/v1"
	batchv1 "k8s.io/api/batch/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/rest"
	clocktesting "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/yaml"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/controller/controllertest"
	"github.com/valetkey/valetkey/internal/mcp"
	"github.com/valetkey/valetkey/internal/policy"
	"github.com/valetkey/valetkey/internal/policytest"
	"github.com/valetkey/valetkey/internal/step"
)

// asker asks one question of everybody.
type asker struct {
	*controllertest.Env
	question
	made *v1alpha1.CapabilityRequest
	// shown is the Job as the agent creates it.
	shown *batchv1.Job
}

func (a *asker) compare(who string, got, want reply) {
	a.Helper()
	if who == "policy test" {
		want.message = strings.NewReplacer("RoleBinding edit", "the case says so", "RoleBinding approvers",
			"the case says so").Replace(want.message)
	}
	if got.reason != "" && got.reason != want.reason || got.message != want.message {
		a.Errorf("%s says %s: %s\nwant %s: %s", who, got.reason, got.message, want.reason, want.message)
	}
}

// ask makes the request, and its Job.
func (a *asker) ask() {
	a.Helper()
	r := &v1alpha1.CapabilityRequest{ObjectMeta: metav1.ObjectMeta{Namespace: controllertest.Namespace, Name: "a"}}
	r.Spec = v1alpha1.CapabilityRequestSpec{Capability: controllertest.Capability, TaskID: "t", Actor: "a",
		Repo: "web-app", Environment: "preview",
		Container: "step", TTLSeconds: ptr.To[int32](60), Requester: v1alpha1.Identity{Username: "bot"}}
	if a.request != nil {
		a.request(r)
	}
	a.made, a.shown = r.DeepCopy(), step.Step{Image: image, Command: []string{"/publish"}}.Job(r, nil)
	if a.job != nil {
		a.job(a.shown)
	}
	a.Store(r)
	a.Store(policy.AsHeld(a.shown.DeepCopy(), "bot"))
}

// operator has it decided.
func (a *asker) operator() reply {
	a.Helper()
	a.Start().Advance(time.Second)
	c := meta.FindStatusCondition(a.Request("a").Status.Conditions, v1alpha1.ConditionAllowed)
	if c == nil {
		a.Fatal("the operator says nothing")
	}
	message, _, _ := strings.Cut(c.Message, "; look at status.review")
	return reply{c.Reason, message}
}

// client is what bot, who may read everything, has.
func (a *asker) client() client.WithWatch {
	return interceptor.NewClient(a.Client, interceptor.Funcs{
		Create: func(ctx context.Context, c client.WithWatch, object client.Object, o ...client.CreateOption) error {
			if review, ok := object.(*authenticationv1.SelfSubjectReview); ok {
				review.Status.UserInfo = authenticationv1.UserInfo{Username: "bot", Groups: a.made.Spec.Requester.Groups}
				return nil
			}
			if options := (&client.CreateOptions{}).ApplyOptions(o); len(options.DryRun) > 0 {
				return nil
			}
			a.Errorf("%T is created", object)
			return nil
		},
	})
}

// types runs a command of the plugin's.
func (a *asker) types(args ...string) string {
	a.Helper()
	var out bytes.Buffer
	s := newShell(genericiooptions.IOStreams{In: strings.NewReader(""), Out: &out, ErrOut: a.Output()}, a.Clock,
		func(*rest.Config) (client.WithWatch, error) { return a.client(), nil })
	s.run(a.Context(), append(args, "--kubeconfig="+os.DevNull, "--server=https://127.0.0.1:1",
		"--namespace="+controllertest.Namespace))
	return out.String()
}

func (a *asker) read(text string, into any) {
	a.Helper()
	if err := json.Unmarshal([]byte(text), into); err != nil {
		a.Fatalf("%v: %s", err, text)
	}
}

func (a *asker) why() reply {
	a.Helper()
	var e struct{ Today outcome }
	a.read(a.types("why", "a", "-o", "json"), &e)
	return reply{e.Today.Reason, e.Today.Message}
}

func (a *asker) describe() reply {
	a.Helper()
	for _, line := range strings.Split(a.types("describe", "a"), "\n") {
		if words, ok := strings.CutPrefix(line, "  operator    "); ok {
			reason, message, _ := strings.Cut(words, ": ")
			return reply{reason, message}
		}
	}
	return reply{}
}

func (a *asker) can() reply {
	a.Helper()
	var f foreseen
	spec := a.made.Spec
	a.read(a.types("can", spec.Capability, "--repo", spec.Repo, "--env", spec.Environment, "--ttl", "60s", "--task",
		spec.TaskID, "-o", "json"), &f)
	return reply{f.Policy.Reason, f.Policy.Message}
}

// tool calls one of the agent's tools.
func (a *asker) tool(name string, arguments map[string]any) reply {
	a.Helper()
	server, err := mcp.New(a.client(), controllertest.Namespace, clocktesting.NewFakeClock(a.Clock.Now()), io.Discard)
	a.Must(err)
	ctx, cancel := context.WithCancel(a.Context())
	ours, theirs := sdk.NewInMemoryTransports()
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(ctx, ours) }()
	session, err := sdk.NewClient(&sdk.Implementation{Name: "a", Version: "1"}, nil).Connect(ctx, theirs, nil)
	a.Must(err)
	result, err := session.CallTool(ctx, &sdk.CallToolParams{Name: name, Arguments: arguments})
	a.Must(err)
	_ = session.Close()
	cancel()
	a.Must(<-ended)
	var told struct{ Rule, Message string }
	a.read(result.Content[0].(*sdk.TextContent).Text, &told)
	reason, _ := strings.CutPrefix(told.Rule, "Valetkey, ")
	if reason == told.Rule {
		reason = "" // it names the policy
	}
	return reply{reason, told.Message}
}

func (a *asker) status() reply { return a.tool("status", map[string]any{"name": "a"}) }

// mcpAsk is asked of what would be refused alone: the rest it would create.
func (a *asker) mcpAsk() reply {
	spec, container := a.made.Spec, a.shown.Spec.Template.Spec.Containers[0]
	return a.tool("ask", map[string]any{"capability": spec.Capability, "repo": spec.Repo,
		"environment": spec.Environment, "task": spec.TaskID,
		"justification": "why", "ttl_seconds": 60, "image": container.Image, "command": container.Command})
}

// policyTest writes a repository of what is stored, with one case that expects something else.
func (a *asker) policyTest() reply {
	a.Helper()
	dir := a.TempDir()
	write := func(name string, object any) {
		a.Helper()
		text, err := yaml.Marshal(object)
		a.Must(err)
		a.Must(os.WriteFile(filepath.Join(dir, name), text, 0o600))
	}
	for _, list := range []client.ObjectList{&v1alpha1.CapabilityProviderList{}, &v1alpha1.CapabilityList{},
		&v1alpha1.CapabilityPolicyList{}} {
		a.Must(a.Client.List(a.Context(), list))
		a.Must(meta.EachListItem(list, a.manifest(write)))
	}
	a.shown.TypeMeta = metav1.TypeMeta{APIVersion: "batch/v1", Kind: "Job"}
	write("job.yaml", a.shown)
	spec := a.made.Spec
	one := map[string]any{"name": "a", "requester": map[string]any{"user": spec.Requester.Username},
		"job": map[string]any{"manifest": "job.yaml"},
		"request": map[string]any{"capability": spec.Capability, "repo": spec.Repo, "environment": spec.Environment,
			"ttlSeconds": 60,
			"taskID":     spec.TaskID, "namespace": controllertest.Namespace, "name": "a", "container": "step"},
		"expect": map[string]any{"decision": "Allow"}}
	for _, risk := range []v1alpha1.Acceptance{v1alpha1.AcceptSecretReader, v1alpha1.AcceptRequesterMayApprove} {
		if strings.Contains(a.words, string(risk)) {
			one["risks"] = []v1alpha1.Acceptance{risk}
		}
	}
	write("one.valetkey-test.yaml", map[string]any{"apiVersion": v1alpha1.GroupVersion.String(),
		"kind": "PolicyTest", "cases": []any{one}})
	catalogue, err := policytest.Load(dir)
	a.Must(err)
	report, err := catalogue.Test()
	a.Must(err)
	return reply{report.Results[0].Got.Reason, report.Results[0].Got.Message}
}

// manifest writes an object of the catalogue as people keep it in Git.
func (a *asker) manifest(write func(string, any)) func(runtime.Object) error {
	return func(item runtime.Object) error {
		object := item.(client.Object)
		kind, err := a.Client.GroupVersionKindFor(object)
		if err != nil {
			return err
		}
		fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(object)
		if err != nil {
			return err
		}
		fields["apiVersion"], fields["kind"] = kind.GroupVersion().String(), kind.Kind
		fields["metadata"] = map[string]any{"name": object.GetName()}
		delete(fields, "status")
		write(kind.Kind+"-"+object.GetName()+".yaml", fields)
		return nil
	}
}
