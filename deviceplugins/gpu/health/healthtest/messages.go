package healthtest

import (
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
)

type kind = descriptorpb.FieldDescriptorProto_Type

const (
	text    = descriptorpb.FieldDescriptorProto_TYPE_STRING
	boolean = descriptorpb.FieldDescriptorProto_TYPE_BOOL
	double  = descriptorpb.FieldDescriptorProto_TYPE_DOUBLE
	number  = descriptorpb.FieldDescriptorProto_TYPE_UINT32
	long    = descriptorpb.FieldDescriptorProto_TYPE_UINT64
	message = descriptorpb.FieldDescriptorProto_TYPE_MESSAGE
	// An enum goes over the wire as its number does.
	severity = descriptorpb.FieldDescriptorProto_TYPE_UINT32
)

// field is one field of a message; of is the name of a message type.
type field struct {
	name   string
	number int32
	typ    kind
	of     string
	many   bool
}

// schema is both services' messages, in the numbers of their .proto files.
var schema = map[string]map[string][]field{
	"": {
		"DeviceId": {{name: "bdfAddress", number: 1, typ: text}},
		"Empty":    {},
		"Error":    {{name: "description", number: 1, typ: text}, {name: "errorcode", number: 2, typ: number}},
		"DeviceHealth": {
			{name: "memory_ok", number: 1, typ: boolean},
			{name: "bus_ok", number: 2, typ: boolean},
			{name: "soc_ok", number: 3, typ: boolean},
			{name: "error", number: 42, typ: message, of: "Error"},
		},
		"DeviceTemperature": {
			{name: "global", number: 1, typ: double},
			{name: "gpu", number: 2, typ: double},
			{name: "memory", number: 3, typ: double},
			{name: "error", number: 42, typ: message, of: "Error"},
		},
		"DeviceIndices": {{name: "indices", number: 1, typ: number, many: true}, {name: "error", number: 42, typ: message, of: "Error"}},
	},
	"deviceinfo": {
		"WatchDeviceHealthRequest": {},
		"DeviceHealthResponse":     {{name: "devices", number: 1, typ: message, of: "deviceinfo.DeviceHealth", many: true}},
		"DeviceHealth": {
			{name: "info", number: 1, typ: message, of: "deviceinfo.DeviceInformation"},
			{name: "health", number: 2, typ: message, of: "deviceinfo.HealthStatus", many: true},
		},
		"DeviceInformation": {
			{name: "uuid", number: 1, typ: text},
			{name: "model", number: 2, typ: text},
			{name: "pci", number: 3, typ: message, of: "deviceinfo.PciInfo"},
			{name: "firmwares", number: 4, typ: message, of: "deviceinfo.FirmwareInfo", many: true},
			{name: "memory", number: 5, typ: message, of: "deviceinfo.MemoryInfo", many: true},
		},
		"PciInfo": {{name: "bdf", number: 1, typ: text}, {name: "device_id", number: 2, typ: text}, {name: "vendor_id", number: 3, typ: text}},
		"FirmwareInfo": {
			{name: "name", number: 1, typ: text}, {name: "version", number: 2, typ: text}, {name: "subdevice_id", number: 3, typ: number},
		},
		"MemoryInfo": {{name: "type", number: 1, typ: text}, {name: "subdevice_id", number: 2, typ: number}, {name: "size", number: 3, typ: long}},
		"HealthStatus": {
			{name: "name", number: 1, typ: text},
			{name: "severity", number: 2, typ: severity},
			{name: "reason", number: 3, typ: text},
			{name: "message", number: 4, typ: text},
		},
	},
}

// Schema makes the messages of a package: "" is the Level-Zero service's, "deviceinfo" is xpumd's.
func Schema(pkg string) (protoreflect.FileDescriptor, error) {
	file := &descriptorpb.FileDescriptorProto{
		Name: proto.String("health" + pkg + ".proto"), Package: proto.String(pkg), Syntax: proto.String("proto3"),
	}
	for name, fields := range schema[pkg] {
		m := &descriptorpb.DescriptorProto{Name: proto.String(name)}
		for _, f := range fields {
			label := descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL
			if f.many {
				label = descriptorpb.FieldDescriptorProto_LABEL_REPEATED
			}
			d := &descriptorpb.FieldDescriptorProto{
				Name: proto.String(f.name), Number: proto.Int32(f.number), Type: f.typ.Enum(), Label: label.Enum(),
			}
			if f.of != "" {
				d.TypeName = proto.String("." + f.of)
			}
			m.Field = append(m.Field, d)
		}
		file.MessageType = append(file.MessageType, m)
	}
	return protodesc.NewFile(file, nil)
}

// NewMessage makes an empty message of a schema.
func NewMessage(file protoreflect.FileDescriptor, name string) *dynamicpb.Message {
	return dynamicpb.NewMessage(file.Messages().ByName(protoreflect.Name(name)))
}

func set(m *dynamicpb.Message, field string, v any) {
	m.Set(m.Descriptor().Fields().ByName(protoreflect.Name(field)), protoreflect.ValueOf(v))
}

// sub gives a message within a message, made for it.
func sub(m *dynamicpb.Message, field string) *dynamicpb.Message {
	f := m.Descriptor().Fields().ByName(protoreflect.Name(field))
	if f.IsList() {
		list := m.Mutable(f).List()
		child := dynamicpb.NewMessage(f.Message())
		list.Append(protoreflect.ValueOfMessage(child))
		return child
	}
	child := dynamicpb.NewMessage(f.Message())
	m.Set(f, protoreflect.ValueOfMessage(child))
	return child
}
