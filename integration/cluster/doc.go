// Package cluster gives a test a real Kubernetes cluster of one node with an emulated FPGA card: etcd, kube-apiserver,
// kube-scheduler, kube-controller-manager, kubelet and containerd or CRI-O, Ready within seconds and gone without a
// trace. Inlay is installed on it as on any other, by kubectl apply -k of deploy/, unchanged.
//
//	var kit cluster.Kit // programs and images, made once a test binary
//
//	func TestMain(m *testing.M) { os.Exit(kit.Main(m)) }
//
//	func TestAPodReadsItsFunction(t *testing.T) {
//		c := kit.Start(t, cluster.Options{Cards: []string{"dfl:ports=2"}}) // Runtime: integration.CRIO
//		c.StoreBitstream(integration.NLB3)
//		c.InstallInlay(cluster.Install{Overlay: "region"})
//		c.WaitAllocatable("fpga.intel.com/region-"+emulator.DefaultInterface, 1)
//		c.Grant("default", "nlb3", integration.NLB3, "region") // an AcceleratorFunction
//		pod := cluster.PodSpec{Name: "reader", Resources: map[string]int64{"fpga.intel.com/nlb3": 1}}
//		c.RunPod(pod)
//		t.Log(c.Ports(pod), c.Kubectl("describe", "pod", pod.Name))
//		c.Program("inlay-nri").Kill() // the process in its container; the kubelet starts it anew
//		c.Kubelet.Restart(t.Context()) // also Etcd, APIServer, Scheduler, ControllerManager, Runtime: Kill, Stop, Cont, Start
//		c.Faults(emulator.Faults{"dfl-fme.0": {Dead: true}})
//		c.Delete(pod)
//	}
//
// Methods of Test fail the test. Those of Cluster, which is embedded, take a context and return errors: for what may
// fail on purpose, for goroutines, and for programs without a test (New and Close).
//
// # What is real and what is not
//
// The node's programs run in a PID namespace of their own, and in a mount namespace in which /etc, /opt, /run, /srv, /var and /usr/share are
// folders of the cluster's own, and /sys and /dev are the emulated host's, with what any program needs of the machine's.
// So the host paths of manifests are the real ones, and nothing of the machine's is written to but the cluster's folder
// in /tmp and a control group of its name. HostPath translates a path of the node to one that the test can open:
// Bitstreams, RunDir, HostPath("var/lib/inlay/policy.json"). OnNode runs commands on the node.
//
// All programs share a network namespace without a way out, so every cluster has the same addresses. Pods are connected
// by the CNI plugins bridge and host-local. In the place of kube-proxy the test's own process listens on the addresses of Services. The API server is
// reached from outside at a port of the loopback interface, see Kubeconfig and RESTConfig.
//
// Everything that the node starts runs under fpga-emulator. There is no other machine: a Node that is lost is a kubelet
// that is stopped.
//
// # Times
//
// The kubelet looks every second whether the Node's status has changed (Options.StatusEvery; its default is 10 s). It
// starts containers that ended with its usual back-off of 10 s and more; Options.KubeletConfig
// "crashLoopBackOff: {maxContainerRestartPeriod: 1s}" bounds that. A kubelet that has just started may refuse a pod that
// it has devices for (UnexpectedAdmissionError), as it counts those of pods that were deleted while it was away; RunPod
// and KeepPod then make the pod anew, as a controller would.
//
// When a test fails, the logs of all components and pods are kept in $INLAY_ARTIFACTS or /tmp/inlay-failed.
package cluster
