package main

// recipe is what one image is made of.
type recipe struct {
	name, title, description string
	programs                 []program
	user                     string
	entrypoint, cmd          []string
	limit                    int64 // bytes to download, per platform; 0 = none
}

// program is one of the programs in an image.
type program struct{ name, folder string }

// bin is where programs are in every image.
const bin = "/usr/bin/"

func recipes() []recipe {
	return []recipe{
		{
			name:  "inlay-node",
			title: "Inlay node",
			description: "Everything that Inlay runs on a node with accelerators: inlay-deviceplugin, inlay-nri, " +
				"inlay-hook, which is copied to the host, and fpga_tool",
			programs: []program{
				{"inlay-deviceplugin", "deviceplugins"},
				{"inlay-nri", "nri-plugin"},
				{"inlay-hook", "oci-hook"},
				{"fpga_tool", "fpga/cmd/fpga_tool"},
			},
			user: "0:0", // the kubelet's folder, the NRI socket and the hook's folder on the host are root's
			// No entrypoint: each container says which of the programs it is.
			cmd:   []string{bin + "inlay-deviceplugin"},
			limit: 12e6,
		},
		{
			name:        "inlay-webhook",
			title:       "Inlay webhook",
			description: "Translates the names of FPGA functions in pods to what nodes offer",
			programs:    []program{{"inlay-webhook", "webhook"}},
			user:        "65532:65532",
			entrypoint:  []string{bin + "inlay-webhook"},
			cmd:         []string{"serve"},
		},
	}
}
