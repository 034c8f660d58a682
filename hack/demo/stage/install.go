// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package stage

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/valetkey/valetkey/hack/localcluster"
)

// auditUser is the user and group that the operator runs as.
const auditUser = 65532

const (
	// replicas of the operator, each with a volume for its audit log.
	replicas = 2
	// previousClaim is the earlier release's, which had one.
	previousClaim = "valetkey-audit"
)

// install installs the operator by its chart or by config/default, with what is this cluster's own: the endpoints, and volumes.
func (s *Stage) install(ctx context.Context, o Options) error {
	a := s.Cluster.AWS()
	args := slices.Concat([]string{"--aws-endpoint=" + a.InClusterSTS, "--aws-endpoint=" + a.InClusterS3, "--kubernetes-server=" + localcluster.ServiceURL},
		s.backEndArgs(), o.OperatorArgs)
	before, err := s.before()
	if err != nil {
		return err
	}
	if o.Helm {
		return s.installChart(ctx, before, args)
	}
	return s.installDefault(ctx, before, args)
}

// before is an overlay of what whoever installs brings: volumes for the audit logs, and the signers' keys, as docs/backends/github.md advises.
func (s *Stage) before() (string, error) {
	files := map[string]string{}
	lines := []string{"resources:", "- " + s.rel("before", "config/namespaces"), "- volumes.yaml"}
	claims := []string{"audit-valetkey-0", "audit-valetkey-1"}
	if s.previous != "" {
		claims = append(claims, previousClaim)
	}
	for _, claim := range claims {
		volume := filepath.Join(s.dir, claim)
		if err := errors.Join(os.MkdirAll(volume, 0o750), os.Chown(volume, auditUser, auditUser)); err != nil {
			return "", err
		}
		files["volumes.yaml"] += fmt.Sprintf(volumeManifest, claim, volume, localcluster.NodeName)
	}
	if len(s.signers) > 0 {
		lines = append(lines, "secretGenerator:", "- name: valetkey-signers", "  namespace: valetkey-system", "  options: {disableNameSuffixHash: true}", "  files:")
		for name, key := range s.signers {
			files[name] = key
			lines = append(lines, "  - "+name)
		}
	}
	lines = append(lines, "patches:", "- {target: {kind: Namespace, name: valetkey-identities}, patch: '{$patch: delete, apiVersion: v1, kind: Namespace, metadata: {name: valetkey-identities}}'}")
	files["kustomization.yaml"] = strings.Join(lines, "\n") + "\n"
	return s.overlay("before", files)
}

// audiences are the back ends', as docs/backends advises: the defaults, and the provider of config/samples/gcp.
var audiences = []string{"sts.amazonaws.com", "vault", googleAudience}

// installDefault applies an overlay over config/default.
func (s *Stage) installDefault(ctx context.Context, before string, args []string) error {
	patch := []string{"resources:", "- " + s.rel("operator", "config/default"), "patches:",
		"- target: {kind: ConfigMap, name: valetkey-audiences}", "  patch: |-",
		"    - {op: replace, path: /data/audiences, value: " + fmt.Sprintf("%q", strings.Join(audiences, ",")) + "}",
		"- target: {kind: StatefulSet, name: valetkey}", "  patch: |-"}
	for _, arg := range args {
		patch = append(patch, "    - {op: add, path: /spec/template/spec/containers/0/args/-, value: "+fmt.Sprintf("%q", arg)+"}")
	}
	if len(s.signers) > 0 {
		patch = append(patch, "    - {op: add, path: /spec/template/spec/volumes/-, value: {name: signers, secret: {secretName: valetkey-signers}}}",
			"    - {op: add, path: /spec/template/spec/containers/0/volumeMounts/-, value: {name: signers, mountPath: "+signersPath+"}}")
	}
	overlay, err := s.overlay("operator", map[string]string{"kustomization.yaml": strings.Join(patch, "\n") + "\n"})
	if err != nil {
		return err
	}
	for _, args := range [][]string{
		{"apply", "--server-side", "-k", before},
		// The kinds come first: the API server has to know them before it takes rules about them.
		{"apply", "--server-side", "-k", filepath.Join(s.root, "config", "crd")},
		{"wait", "--for=condition=Established", "crd", "-l", "!none", "--timeout=60s"},
		{"apply", "--server-side", "-k", overlay},
	} {
		if _, err := s.Kubectl(ctx, Admin, args...); err != nil {
			return err
		}
	}
	return s.awaitOperator(ctx)
}

// installChart installs the chart.
func (s *Stage) installChart(ctx context.Context, before string, args []string) error {
	values := map[string]any{"image": OperatorImage, "args": args, "audiences": audiences}
	if len(s.signers) > 0 {
		values["volumes"] = []any{map[string]any{"name": "signers", "secret": map[string]any{"secretName": "valetkey-signers"}}}
		values["volumeMounts"] = []any{map[string]any{"name": "signers", "mountPath": signersPath}}
	}
	flags, err := json.Marshal(args)
	if err != nil {
		return err
	}
	text, err := json.Marshal(values)
	if err != nil {
		return err
	}
	if _, err := s.overlay("chart", map[string]string{"values.json": string(text)}); err != nil {
		return err
	}
	if _, err := s.Kubectl(ctx, Admin, "apply", "--server-side", "-k", before); err != nil {
		return err
	}
	if s.previous == "" {
		return s.HelmUpgrade(ctx)
	}
	_, err = s.Helm(ctx, "install", "valetkey", filepath.Join(s.previous, "charts", "valetkey"), "--set", "image="+previousImage, "--set-json", "args="+string(flags), "--wait", "--timeout", settled.String())
	return err
}

// HelmUpgrade installs the chart, or upgrades what was installed from it, with the values of the installation and more arguments. It
// returns when the operator is ready.
func (s *Stage) HelmUpgrade(ctx context.Context, args ...string) error {
	_, err := s.Helm(ctx, append([]string{"upgrade", "--install", "valetkey", s.Path("charts/valetkey"), "--values", filepath.Join(s.dir, "chart", "values.json")}, args...)...)
	if err != nil {
		return err
	}
	return s.awaitOperator(ctx)
}

// Helm runs helm as the administrator, in the operator's namespace, and returns what it printed.
func (s *Stage) Helm(ctx context.Context, args ...string) (string, error) {
	kubeconfig, err := s.kubeconfig(ctx, Admin)
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, s.Cluster.Helm(), append([]string{"--namespace", "valetkey-system", "--kubeconfig", kubeconfig}, args...)...)
	cmd.Env = append(os.Environ(), "HOME="+s.dir)
	text, err := cmd.CombinedOutput()
	if err != nil {
		return string(text), fmt.Errorf("helm %s: %w\n%s", strings.Join(args, " "), err, text)
	}
	return string(text), nil
}

func (s *Stage) awaitOperator(ctx context.Context) error {
	_, err := s.Kubectl(ctx, Admin, "-n", "valetkey-system", "rollout", "status", "statefulset/valetkey", "--timeout="+settled.String())
	return err
}

// PreviousAuditDir is where the volume of the earlier release's audit log is on this machine.
func (s *Stage) PreviousAuditDir() string { return filepath.Join(s.dir, previousClaim) }

// AuditDir is where the volume of a replica's audit log is on this machine.
func (s *Stage) AuditDir(replica int) string {
	return filepath.Join(s.dir, fmt.Sprintf("audit-valetkey-%d", replica))
}

const volumeManifest = `apiVersion: v1
kind: PersistentVolume
metadata: {name: %[1]s}
spec:
  capacity: {storage: 1Gi}
  accessModes: [ReadWriteOnce]
  persistentVolumeReclaimPolicy: Retain
  claimRef: {namespace: valetkey-system, name: %[1]s}
  local: {path: %[2]s}
  nodeAffinity: {required: {nodeSelectorTerms: [{matchExpressions: [{key: kubernetes.io/hostname, operator: In, values: [%[3]s]}]}]}}
---
`

// catalogue applies config/samples with this cluster's endpoints and image.
func (s *Stage) catalogue(ctx context.Context) error {
	a := s.Cluster.AWS()
	name, digest, _ := strings.Cut(s.Workload, "@")
	overlay, err := s.overlay("catalogue", map[string]string{
		"images.yaml": imageFields,
		"kustomization.yaml": fmt.Sprintf(catalogueOverlay, s.rel("catalogue", "config/samples"),
			sampleImage, strings.TrimSuffix(name, ":dev"), digest, a.InClusterSTS, a.InClusterS3, s.roleARN),
	})
	if err != nil {
		return err
	}
	if _, err := s.Kubectl(ctx, Admin, "apply", "--server-side", "-k", overlay); err != nil {
		return err
	}
	_, err = s.Kubectl(ctx, Admin, "wait", "--for=condition=Ready", "capprov,cap,cappol", "--all", "--timeout=60s")
	return err
}

// Revoker gives the sample capability a role that denies its sessions, as docs/backends/aws.md advises.
func (s *Stage) Revoker(ctx context.Context) error {
	a := s.Cluster.AWS()
	arn, err := a.EnsureRole(ctx, localcluster.RoleSpec{Name: "preview-revoker", Namespace: "valetkey-identities", ServiceAccount: sampleCapability,
		Policy: fmt.Sprintf(revokerPolicy, s.roleARN)})
	if err != nil {
		return err
	}
	for _, args := range [][]string{
		{"patch", "capprov", "aws-preview", "--type=merge", "-p", fmt.Sprintf(`{"spec":{"aws":{"iamEndpoint":%q}}}`, a.InClusterSTS)},
		{"patch", "cap", sampleCapability, "--type=merge", "-p", fmt.Sprintf(`{"spec":{"aws":{"revokerRoleARN":%q}}}`, arn)},
	} {
		if _, err := s.Kubectl(ctx, Admin, args...); err != nil {
			return err
		}
	}
	return nil
}

const revokerPolicy = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["iam:ListRolePolicies","iam:GetRolePolicy","iam:PutRolePolicy","iam:DeleteRolePolicy"],"Resource":%q}]}`

// Kubernetes applies config/samples/kubernetes with this cluster's address, for there is no name service.
func (s *Stage) Kubernetes(ctx context.Context) error {
	overlay, err := s.overlay("kubernetes", map[string]string{"kustomization.yaml": fmt.Sprintf(kubernetesOverlay, s.rel("kubernetes", "config/samples/kubernetes"), localcluster.ServiceURL)})
	if err != nil {
		return err
	}
	return s.applySample(ctx, overlay, "capprov/this-cluster", "cap/read-settings", "cappol/read-settings")
}

const kubernetesOverlay = `resources:
- %s
patches:
- target: {kind: CapabilityProvider, name: this-cluster}
  patch: |-
    - {op: replace, path: /spec/kubernetes/server, value: %q}
`

// applySample applies a folder, and returns when what it makes is Ready.
func (s *Stage) applySample(ctx context.Context, folder string, ready ...string) error {
	if _, err := s.Kubectl(ctx, Admin, "apply", "--server-side", "-k", folder); err != nil {
		return err
	}
	_, err := s.Kubectl(ctx, Admin, append([]string{"wait", "--for=condition=Ready", "--timeout=60s"}, ready...)...)
	return err
}

// Enrol makes another namespace that agents can work in, as config/samples makes the first.
func (s *Stage) Enrol(ctx context.Context, namespace string) error {
	folder, err := s.overlay("enrol-"+namespace, map[string]string{"kustomization.yaml": fmt.Sprintf(enrolOverlay, namespace)})
	if err != nil {
		return err
	}
	for _, file := range []string{"namespace.yaml", "people.yaml"} {
		content, err := os.ReadFile(filepath.Join(s.root, "config", "samples", file))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(folder, file), content, 0o600); err != nil {
			return err
		}
	}
	if _, err := s.Kubectl(ctx, Admin, "apply", "--server-side", "-k", folder); err != nil {
		return err
	}
	// One agent works in both namespaces.
	_, err = s.Kubectl(ctx, Admin, "-n", namespace, "create", "rolebinding", "agent", "--clusterrole=valetkey-requester",
		"--serviceaccount="+strings.TrimPrefix(Agent.Name, "system:serviceaccount:"))
	return err
}

const enrolOverlay = `namespace: %[1]s
resources: [namespace.yaml, people.yaml]
patches:
- target: {kind: Namespace}
  options: {allowNameChange: true}
  patch: |-
    - {op: replace, path: /metadata/name, value: %[1]s}
`

// imageFields tells kustomize where, beside Pods, images are named.
const imageFields = `images:
- {kind: Capability, path: spec/runner/image}
`

const catalogueOverlay = `resources:
- %s
configurations:
- images.yaml
images:
- {name: %s, newName: %s, digest: "%s"}
patches:
- target: {kind: CapabilityProvider, name: aws-preview}
  patch: |-
    - {op: add, path: /spec/aws/stsEndpoint, value: %q}
    - {op: add, path: /spec/aws/serviceEndpoint, value: %q}
- target: {kind: Capability, name: publish-preview-build}
  patch: |-
    - {op: replace, path: /spec/aws/roleARN, value: %q}
`

func (s *Stage) overlay(name string, files map[string]string) (string, error) {
	folder := filepath.Join(s.dir, name)
	if err := os.MkdirAll(folder, 0o750); err != nil {
		return "", err
	}
	for file, content := range files {
		if err := os.WriteFile(filepath.Join(folder, file), []byte(content), 0o600); err != nil {
			return "", err
		}
	}
	return folder, nil
}

// rel is the way from an overlay's folder to a folder of the repository: kustomize takes no other.
func (s *Stage) rel(overlay, folder string) string {
	path, err := filepath.Rel(filepath.Join(s.dir, overlay), filepath.Join(s.root, folder))
	if err != nil {
		return filepath.Join(s.root, folder)
	}
	return path
}
