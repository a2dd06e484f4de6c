--[[ A few modules with the call conventions of nn, nngraph and rnn, for tests without Torch7. ]]

nn = {}

local Module = torch.class('nn.Module')
function Module:__init() self._type = 'torch.FloatTensor' end
function Module:forward(input) return self:updateOutput(input) end
function Module:updateOutput() return self.output end
function Module:parameters() end
function Module:training() self.train = true end
function Module:evaluate() self.train = false end
function Module:float() return self end
function Module:double() self._type = 'torch.DoubleTensor' return self end

-- Torch clones by serialising, functions with their upvalues included.
function Module:clone()
   local copies = {}
   local function copy(value)
      if copies[value] then return copies[value] end
      if type(value) == 'function' then
         assert(debug.getinfo(value, 'S').what ~= 'C', 'a C function cannot be serialised')
         copies[value] = loadstring(string.dump(value))
         for i = 1, math.huge do
            local name, upvalue = debug.getupvalue(value, i)
            if not name then return copies[value] end
            debug.setupvalue(copies[value], i, copy(upvalue))
         end
      end
      if type(value) ~= 'table' then return value end
      local result = setmetatable({}, getmetatable(value))
      copies[value] = result
      for key, element in pairs(value) do result[key] = copy(element) end
      return result
   end
   return copy(self)
end

local Container = torch.class('nn.Container', 'nn.Module')
function Container:__init() Module.__init(self) self.modules = {} end
function Container:add(module) table.insert(self.modules, module) return self end
function Container:training() for _, module in ipairs(self.modules) do module:training() end self.train = true end
function Container:evaluate() for _, module in ipairs(self.modules) do module:evaluate() end self.train = false end
function Container:rethrowErrors(module, index, name, ...)
   assert(module == self.modules[index])
   local arguments = {...}
   local ok, result = xpcall(function() return module[name](module, unpack(arguments)) end, function(message)
      return ('\nIn %d module of %s:\n%s\n%s'):format(index, torch.typename(self), message, debug.traceback())
   end)
   if not ok then error(result) end
   return result
end

local Sequential = torch.class('nn.Sequential', 'nn.Container')
function Sequential:updateOutput(input)
   for i, module in ipairs(self.modules) do input = self:rethrowErrors(module, i, 'updateOutput', input) end
   self.output = input
   return input
end

local ConcatTable = torch.class('nn.ConcatTable', 'nn.Container')
function ConcatTable:updateOutput(input)
   self.output = {}
   for i, module in ipairs(self.modules) do self.output[i] = module:forward(input) end
   return self.output
end

local MapTable = torch.class('nn.MapTable', 'nn.Container')
function MapTable:updateOutput(input)
   self.output = {}
   for i, element in ipairs(input) do
      self.modules[i] = self.modules[i] or self.modules[1]:clone()
      self.output[i] = self.modules[i]:updateOutput(element)
   end
   return self.output
end

-- rnn's Recursor below a Sequencer: one clone for each step, held outside `modules`.
local Recursor = torch.class('nn.Recursor', 'nn.Container')
function Recursor:__init(module)
   Container.__init(self)
   self.recurrentModule, self.modules, self.sharedClones, self.step = module, {module}, {module}, 0
end
function Recursor:updateOutput(input)
   self.step = self.step + 1
   self.sharedClones[self.step] = self.sharedClones[self.step] or self.recurrentModule:clone()
   self.output = self.sharedClones[self.step]:updateOutput(input)
   return self.output
end

local Sequencer = torch.class('nn.Sequencer', 'nn.Container')
function Sequencer:__init(module) Container.__init(self) self.modules = {module} end
function Sequencer:updateOutput(input)
   self.output = {}
   for i, element in ipairs(input) do self.output[i] = self.modules[1]:updateOutput(element) end
   return self.output
end

-- nngraph: nodes in execution order, some without a module. Here each node feeds the next.
local gModule = torch.class('nn.gModule', 'nn.Module')
function gModule:__init(modules)
   Module.__init(self)
   self.forwardnodes = {{data = {}}}
   for _, module in ipairs(modules) do table.insert(self.forwardnodes, {data = {module = module}}) end
end
function gModule:updateOutput(input)
   for _, node in ipairs(self.forwardnodes) do
      if node.data.module then input = node.data.module:updateOutput(input) end
   end
   self.output = input
   return input
end

local Identity = torch.class('nn.Identity', 'nn.Module')
function Identity:updateOutput(input) self.output = input return input end

local AddConstant = torch.class('nn.AddConstant', 'nn.Module')
function AddConstant:__init(constant, inplace) Module.__init(self) self.constant, self.inplace = constant, inplace end
function AddConstant:updateOutput(input)
   self.output = self.inplace and input or input:clone()
   return self.output:apply(function(_, x) return x + self.constant end)
end

local Copy = torch.class('nn.Copy', 'nn.Module')
function Copy:__init()
   Module.__init(self)
   self.updateOutput = function(module, input) module.output = input return input end
end

-- Writes into its buffer, which must be of the input's type.
local Buffered = torch.class('nn.Buffered', 'nn.Module')
function Buffered:__init() Module.__init(self) self.output = torch.DoubleTensor() end
function Buffered:updateOutput(input)
   local expected = torch.typename(self.output)
   assert(torch.typename(input) == expected, 'expected ' .. expected)
   self.output = input:clone()
   return self.output
end

-- Keeps its nets in fields and computes nothing itself.
local Wrapper = torch.class('my.Wrapper', 'nn.Module')
function Wrapper:__init(fields)
   Module.__init(self)
   for name, value in pairs(fields) do self[name] = value end
end

local Broken = torch.class('nn.Broken', 'nn.Module')
function Broken:updateOutput() error('size mismatch') end

torch.class('nn.MSECriterion').updateOutput = function() end

-- Per channel of one plane. NN_BATCH1=new is nn after pull request 1271: one sample, running statistics.
local BatchNormalization = torch.class('nn.BatchNormalization', 'nn.Module')
function BatchNormalization:updateOutput(input)
   local train = self.train and (os.getenv('NN_BATCH1') ~= 'new' or input:size(1) > 1)
   self.output = input:clone()
   local count = input:nElement()
   local mean = train and input:sum() / count or 0
   local variance = train and input:clone():apply(function(_, x) return (x - mean) ^ 2 end):sum() / count or 1
   return self.output:apply(function(_, x) return (x - mean) / math.sqrt(variance) end)
end
torch.class('nn.SpatialBatchNormalization', 'nn.BatchNormalization')

return nn
