// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package stage

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	watchtools "k8s.io/client-go/tools/watch"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

// Ask is a request and its Job, as a change of the samples.
type Ask struct {
	// Name of the request.
	Name string
	// Capability that it asks for; empty means the samples'.
	Capability string
	// Environment that it is for.
	Environment string
	// TTLSeconds that it asks for.
	TTLSeconds int
	// Command of the container that gets the credential; nil means the samples'. Args are its arguments.
	Command, Args []string
	// Namespace of both; empty means the samples'.
	Namespace string
	// Job are more changes of the Job, one JSON patch operation each.
	Job []string
}

// Request creates a request and its Job as a person.
func (s *Stage) Request(ctx context.Context, who Person, a Ask) error {
	overlay, err := s.request(a)
	if err != nil {
		return err
	}
	_, err = s.Kubectl(ctx, who, "create", "-k", overlay)
	return err
}

// Requests is Request for each of many names, in the place of the one that is asked for, which must stand for nothing else.
func (s *Stage) Requests(ctx context.Context, who Person, a Ask, names []string) error {
	overlay, err := s.request(a)
	if err != nil {
		return err
	}
	text, err := s.Kubectl(ctx, who, "kustomize", overlay)
	if err != nil {
		return err
	}
	var all strings.Builder
	for _, name := range names {
		all.WriteString(strings.ReplaceAll(text, a.Name, name) + "\n---\n")
	}
	_, err = s.KubectlIn(ctx, who, strings.NewReader(all.String()), "create", "-f", "-")
	return err
}

// request writes an overlay of a request and its Job.
func (s *Stage) request(a Ask) (string, error) {
	name, digest, _ := strings.Cut(s.Workload, "@")
	if a.Command == nil {
		a.Command = []string{"/publish-preview"}
	}
	command, args := words(a.Command), words(a.Args)
	folder := "request-" + a.Name
	if a.Namespace == "" {
		a.Namespace = Namespace
	}
	return s.overlay(folder, map[string]string{"kustomization.yaml": fmt.Sprintf(requestOverlay,
		s.rel(folder, "config/samples/request"), sampleImage, strings.TrimSuffix(name, ":dev"), digest, a.Name, a.Namespace, cmp.Or(a.Capability, sampleCapability), a.Environment, a.TTLSeconds, a.Name, a.Namespace, a.Name, a.Name, command, args) + operations(a.Job)})
}

// operations are JSON patch operations as lines of an overlay.
func operations(list []string) string {
	var lines strings.Builder
	for _, operation := range list {
		lines.WriteString("    - " + operation + "\n")
	}
	return lines.String()
}

// words are a list as YAML has it.
func words(list []string) []byte {
	text, _ := json.Marshal(list) // strings can always be encoded
	return text
}

const requestOverlay = `resources: [%s]
images:
- {name: %s, newName: %s, digest: "%s"}
patches:
- target: {kind: CapabilityRequest}
  options: {allowNameChange: true}
  patch: |-
    - {op: replace, path: /metadata/name, value: %q}
    - {op: replace, path: /metadata/namespace, value: %q}
    - {op: replace, path: /spec/capability, value: %q}
    - {op: replace, path: /spec/environment, value: %q}
    - {op: replace, path: /spec/ttlSeconds, value: %d}
- target: {kind: Job}
  options: {allowNameChange: true}
  patch: |-
    - {op: replace, path: /metadata/name, value: "valetkey-%s"}
    - {op: replace, path: /metadata/namespace, value: %q}
    - {op: replace, path: /metadata/labels/valetkey.dev~1request, value: %q}
    - {op: replace, path: /spec/template/metadata/labels/valetkey.dev~1request, value: %q}
    - {op: replace, path: /spec/template/spec/containers/0/command, value: %s}
    - {op: replace, path: /spec/template/spec/containers/0/args, value: %s}
`

// AwaitRequest returns a request when its decision has the reason. A request that ended for another reason is an error.
func (s *Stage) AwaitRequest(ctx context.Context, name, reason string) (*v1alpha1.CapabilityRequest, error) {
	found, err := await(ctx, s, "capabilityrequests", name, func(r *v1alpha1.CapabilityRequest) (bool, error) {
		if c := condition(r.Status.Conditions, v1alpha1.ConditionAllowed); c != nil && c.Reason == reason {
			return true, nil
		}
		if r.Status.EndedAt != nil {
			return false, fmt.Errorf("request %s ended: %s", name, Message(r.Status.Conditions, v1alpha1.ConditionAllowed))
		}
		return false, nil
	})
	return found, err
}

// AwaitGrant returns a grant when the condition is True. A grant that ended before is an error.
func (s *Stage) AwaitGrant(ctx context.Context, name, kind string) (*v1alpha1.CapabilityGrant, error) {
	return await(ctx, s, "capabilitygrants", name, func(g *v1alpha1.CapabilityGrant) (bool, error) {
		if c := condition(g.Status.Conditions, kind); c != nil && c.Status == metav1.ConditionTrue {
			return true, nil
		}
		if g.Status.EndedAt != nil {
			return false, fmt.Errorf("grant %s ended: %+v", name, g.Status.Stop)
		}
		return false, nil
	})
}

// AwaitGrants watches all grants of the samples' namespace, until done with those that are there.
func (s *Stage) AwaitGrants(ctx context.Context, done func(map[string]*v1alpha1.CapabilityGrant) (bool, error)) error {
	client, err := s.client()
	if err != nil {
		return err
	}
	all := map[string]*v1alpha1.CapabilityGrant{}
	source := cache.NewListWatchFromClient(client, "capabilitygrants", Namespace, fields.Everything())
	_, err = watchtools.UntilWithSync(ctx, source, &v1alpha1.CapabilityGrant{}, nil, func(e watch.Event) (bool, error) {
		g, ok := e.Object.(*v1alpha1.CapabilityGrant)
		if !ok || e.Type == watch.Deleted {
			return false, errors.New("a grant is gone")
		}
		all[g.Name] = g
		return done(all)
	})
	return err
}

// Message is what a condition says.
func Message(conditions []metav1.Condition, kind string) string {
	if c := condition(conditions, kind); c != nil {
		return c.Message
	}
	return ""
}

func condition(conditions []metav1.Condition, kind string) *metav1.Condition {
	for i := range conditions {
		if conditions[i].Type == kind {
			return &conditions[i]
		}
	}
	return nil
}

// await watches one object until it is as wanted.
func await[T any, P interface {
	*T
	runtime.Object
}](ctx context.Context, s *Stage, resource, name string, done func(P) (bool, error)) (P, error) {
	client, err := s.client()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, settled)
	defer cancel()
	source := cache.NewListWatchFromClient(client, resource, Namespace, fields.OneTermEqualSelector("metadata.name", name))
	var last P
	_, err = watchtools.UntilWithSync(ctx, source, P(new(T)), nil, func(e watch.Event) (bool, error) {
		object, ok := e.Object.(P)
		if !ok || e.Type == watch.Deleted {
			return false, fmt.Errorf("%s %s is gone", resource, name)
		}
		last = object
		return done(object)
	})
	if err != nil {
		// What the request itself says tells more than that somebody waited.
		says, _ := s.Kubectl(context.WithoutCancel(ctx), Admin, "-n", Namespace, "get", "capreq", name, "-o", "jsonpath={.status.conditions[*].message}")
		return nil, fmt.Errorf("waiting for %s %s: %w; the request says: %s", resource, name, err, says)
	}
	return last, nil
}

// client reads our kinds.
func (s *Stage) client() (rest.Interface, error) {
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		return nil, err
	}
	config := rest.CopyConfig(s.Cluster.AdminConfig())
	config.APIPath, config.GroupVersion = "/apis", &v1alpha1.GroupVersion
	config.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	return rest.RESTClientFor(config)
}

// Grants lists every grant.
func (s *Stage) Grants(ctx context.Context) ([]v1alpha1.CapabilityGrant, error) {
	client, err := s.client()
	if err != nil {
		return nil, err
	}
	list := &v1alpha1.CapabilityGrantList{}
	err = client.Get().Namespace(Namespace).Resource("capabilitygrants").Do(ctx).Into(list)
	return list.Items, err
}

// awaitPod watches the Pod of a request's Job.
func (s *Stage) awaitPod(ctx context.Context, name string, done func(*corev1.Pod) bool) (*corev1.Pod, error) {
	clients, err := kubernetes.NewForConfig(s.Cluster.AdminConfig())
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, settled)
	defer cancel()
	source := cache.NewFilteredListWatchFromClient(clients.CoreV1().RESTClient(), "pods", Namespace, func(o *metav1.ListOptions) {
		o.LabelSelector = v1alpha1.LabelRequest + "=" + name
	})
	var last *corev1.Pod
	_, err = watchtools.UntilWithSync(ctx, source, &corev1.Pod{}, nil, func(e watch.Event) (bool, error) {
		last = e.Object.(*corev1.Pod)
		return done(last), nil
	})
	if err != nil {
		return nil, fmt.Errorf("waiting for the Pod of %s: %w", name, err)
	}
	return last, nil
}

// AwaitRunning returns when the Pod of a request's Job runs.
func (s *Stage) AwaitRunning(ctx context.Context, name string) error {
	_, err := s.awaitPod(ctx, name, func(p *corev1.Pod) bool {
		for _, c := range p.Status.ContainerStatuses {
			if c.Name == "publish" && c.State.Running != nil {
				return true
			}
		}
		return false
	})
	return err
}

// AwaitLog returns when a container of a request's Job has printed the lines, in their order.
func (s *Stage) AwaitLog(ctx context.Context, name, container string, lines []string) error {
	if err := s.AwaitRunning(ctx, name); err != nil {
		return err
	}
	pod, err := s.awaitPod(ctx, name, func(*corev1.Pod) bool { return true })
	if err != nil {
		return err
	}
	clients, err := kubernetes.NewForConfig(s.Cluster.AdminConfig())
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, settled)
	defer cancel()
	stream, err := clients.CoreV1().Pods(pod.Namespace).GetLogs(pod.Name, &corev1.PodLogOptions{Container: container, Follow: true}).Stream(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = stream.Close() }()
	said := bufio.NewScanner(stream)
	for _, want := range lines {
		if !said.Scan() || said.Text() != want {
			return fmt.Errorf("container %s said %q, want %q: %w", container, said.Text(), want, errors.Join(said.Err(), ctx.Err()))
		}
	}
	return nil
}

// Copy reads a grant's Secret, as an administrator can.
func (s *Stage) Copy(ctx context.Context, g *v1alpha1.CapabilityGrant) (map[string][]byte, error) {
	clients, err := kubernetes.NewForConfig(s.Cluster.AdminConfig())
	if err != nil {
		return nil, err
	}
	secret, err := clients.CoreV1().Secrets(g.Namespace).Get(ctx, g.Status.SecretName, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	return secret.Data, nil
}

// AwaitPodEnded returns when the Pod of a request's Job has ended, and says how.
func (s *Stage) AwaitPodEnded(ctx context.Context, name string) (string, error) {
	pod, err := s.awaitPod(ctx, name, func(p *corev1.Pod) bool {
		return p.Status.Phase == corev1.PodFailed || p.Status.Phase == corev1.PodSucceeded
	})
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("phase=%s reason=%s", pod.Status.Phase, pod.Status.Reason), nil
}

// StopOperator takes all replicas of the operator away.
func (s *Stage) StopOperator(ctx context.Context) error {
	if _, err := s.Kubectl(ctx, Admin, "-n", "valetkey-system", "scale", "statefulset/valetkey", "--replicas=0"); err != nil {
		return err
	}
	_, err := s.Kubectl(ctx, Admin, "-n", "valetkey-system", "wait", "--for=delete", "pod", "-l", "app.kubernetes.io/name=valetkey", "--timeout=60s")
	return err
}

// StartOperator brings them back, and returns when they are ready.
func (s *Stage) StartOperator(ctx context.Context) error {
	if _, err := s.Kubectl(ctx, Admin, "-n", "valetkey-system", "scale", "statefulset/valetkey", fmt.Sprintf("--replicas=%d", replicas)); err != nil {
		return err
	}
	return s.awaitOperator(ctx)
}

// Leader is the Pod that leads.
func (s *Stage) Leader(ctx context.Context) (string, error) {
	holder, err := s.Kubectl(ctx, Admin, "-n", "valetkey-system", "get", "lease", "valetkey", "-o", "jsonpath={.spec.holderIdentity}")
	pod, _, _ := strings.Cut(holder, "_")
	return pod, err
}

// Object says what is stored in S3 under a key, as the bucket's owner sees it.
func (s *Stage) Object(ctx context.Context, bucket, key string) (string, error) {
	answer, err := s.Cluster.AWS().S3().GetObject(ctx, &s3.GetObjectInput{Bucket: &bucket, Key: &key})
	if err != nil {
		return "", err
	}
	defer func() { _ = answer.Body.Close() }()
	content, err := io.ReadAll(answer.Body)
	return fmt.Sprintf("%d bytes", len(content)), err
}

// VerifyAudit has all replicas print their logs, as docs/operations.md does, and verifies them and more logs of this machine.
func (s *Stage) VerifyAudit(ctx context.Context, more ...string) (string, error) {
	// The grants come first: one that is written later would remember a record that the log did not have when it was read.
	grants, err := s.Kubectl(ctx, Admin, "get", "capgrant", "-A", "-o", "json")
	if err != nil {
		return "", err
	}
	files := map[string]string{}
	for i := range replicas {
		pod := fmt.Sprintf("valetkey-%d", i)
		text, err := s.Kubectl(ctx, Admin, "-n", "valetkey-system", "exec", pod, "--", "/manager", "print-audit", "/var/log/valetkey")
		if err != nil {
			return "", err
		}
		if text != "" {
			text += "\n" // Kubectl trims it
		}
		files[pod+".log"] = text
	}
	folder, err := s.overlay("printed-logs", files)
	if err != nil {
		return "", err
	}
	return s.verify(ctx, grants, append(more, folder)...)
}

// VerifyLogs verifies logs of this machine alone.
func (s *Stage) VerifyLogs(ctx context.Context, logs ...string) (string, error) {
	grants, err := s.Kubectl(ctx, Admin, "get", "capgrant", "-A", "-o", "json")
	if err != nil {
		return "", err
	}
	return s.verify(ctx, grants, logs...)
}

func (s *Stage) verify(ctx context.Context, grants string, logs ...string) (string, error) {
	cmd, err := s.Plugin(ctx, Admin, append([]string{"audit", "verify", "--grants", "-"}, logs...)...)
	if err != nil {
		return "", err
	}
	cmd.Stdin = strings.NewReader(grants)
	text, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%w\n%s", err, text)
	}
	return strings.TrimSpace(string(text)), err
}

// Explain prints what somebody needs to find out what went wrong.
func (s *Stage) Explain(ctx context.Context, w io.Writer) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	for _, args := range [][]string{
		{"-n", Namespace, "get", "capreq,capgrant,jobs,pods", "-o", "wide"},
		{"-n", Namespace, "get", "events.events.k8s.io", "--sort-by=.metadata.creationTimestamp"},
		{"-n", "valetkey-system", "get", "pods", "-o", "wide"},
		{"-n", "valetkey-system", "logs", "-l", "app.kubernetes.io/name=valetkey", "--prefix", "--tail=60"},
	} {
		out, err := s.Kubectl(ctx, Admin, args...)
		_, _ = fmt.Fprintf(w, "--- kubectl %s\n%s\n", strings.Join(args, " "), out)
		if err != nil {
			_, _ = fmt.Fprintln(w, err)
		}
	}
	_, _ = fmt.Fprintln(w, "logs of the cluster:", filepath.Join(s.Cluster.StateDir(), "logs"))
}
