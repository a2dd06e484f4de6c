--[[ Record the output of every module of a Torch7 model, as reference for `porter check`.

Needs torch and nn only. Writes `torch7-activations` version 1,
   {format=, version=, input=, output=, records={{path=, type=, output=, call=, shape=, gnode=}, ...}}
where a record is appended when a call returns: leaves before their container, the root (path '')
last. The fields mode, seed, nn_batch1 and versions say how the recording was made. ]]

local USAGE = [[
usage: th record.lua MODEL.t7 INPUT.t7 OUT.t7 [options]
       th record.lua MODEL.t7 OUT.t7 -size 1x3x64x48 [options]
INPUT.t7 is a tensor, a table of tensors, or {input=...}.
  -size SIZES      make a uniform random input instead; 1x3x8x8,1x5 makes a table of two
  -evaluate        call model:evaluate() first (default)
  -training        call model:training() first
  -select PATH     which module, for example protos.rnn, model.31 or, of an nn.Sequential, model.1-31
  -require FILE    run FILE.lua (or require a package) that defines classes; repeatable
  -double          compute in double precision: tells rounding from a mistake in nets that amplify it
  -summary         store sums instead of tensors, except for the final output
  -seed N          random seed, default 1]]
local TAKES_VALUE = {size = true, select = true, seed = true}

-- Tried in turn, and only while the file names a class that nobody has defined yet: some of them
-- change how nn behaves, and the CUDA ones complain on a machine without a GPU.
local OPTIONAL_PACKAGES = {'nngraph', 'InstanceNormalization', 'fast_neural_style.InstanceNormalization',
   'fast_neural_style.ShaveImage', 'fast_neural_style.TotalVariation', 'dpnn', 'rnn', 'nnx', 'stn', 'inn',
   'tds', 'cutorch', 'cunn', 'cudnn'}

local function fail(...)
   io.stderr:write('record.lua: ', string.format(...), '\n')
   os.exit(1)
end

-- pcall, but a failure ends the script with its message and without the Lua traceback.
local function try(purpose, call, ...)
   local ok, result = pcall(call, ...)
   if not ok then fail('%s: %s', purpose, (tostring(result):gsub('%s*stack traceback:.*', ''))) end
   return result
end

local function parse(words)
   local options, files, i = {mode = 'evaluate', seed = '1', require = {}}, {}, 1
   while words[i] do
      local name, value = words[i]:match('^%-%-?(%a+)$'), words[i + 1]
      if not name then table.insert(files, words[i])
      elseif name == 'evaluate' or name == 'training' then options.mode = name
      elseif name == 'summary' or name == 'double' then options[name] = true
      elseif name == 'require' and value then table.insert(options.require, value); i = i + 1
      elseif TAKES_VALUE[name] and value then options[name] = value; i = i + 1
      else fail(USAGE) end
      i = i + 1
   end
   if #files ~= (options.size and 2 or 3) or not tonumber(options.seed) then fail(USAGE) end
   options.model, options.input, options.out = files[1], files[2], files[#files]
   return options
end

local function read(path)
   local file = io.open(path, 'rb')
   local first = file and file:read(1)
   if not first then fail('cannot read %s: no such file, or an empty one', path) end
   file:close()
   -- A file starts with the type of its object: a digit in ascii, a small integer in binary.
   local encoding = first:match('%d') and 'ascii' or 'binary'
   local ok, result = pcall(torch.load, path, encoding)
   local function unknown_class() return not ok and tostring(result):match('unknown Torch class <(.-)>') end
   for _, package in ipairs(OPTIONAL_PACKAGES) do
      if unknown_class() and pcall(require, package) then ok, result = pcall(torch.load, path, encoding) end
   end
   local class = unknown_class()
   if not class then return try('cannot read ' .. path, function() return ok and result or error(result, 0) end) end
   fail('%s holds the class %s. ' .. ((class:find('Cuda') or class:find('^cudnn'))
      and 'Without a working cutorch, cunn and cudnn, record a copy saved on a machine with a GPU after model:float()'
         .. ' (and cudnn.convert(model, nn) for cudnn).'
      or 'Name the file that defines it: -require file.lua'), path, class)
end

-- Class instances are not plain tables: torch.typename is nil for those.
local function is_table(value) return type(value) == 'table' and not torch.typename(value) end
local function is_tensor(value) return (torch.typename(value) or ''):find('Tensor$') ~= nil end
local function is_module(value)
   local name = type(value) == 'table' and torch.typename(value)
   return name and type(value.updateOutput) == 'function' and not name:find('Criterion$')
end
local function join(path, key) return path == '' and tostring(key) or path .. '.' .. tostring(key) end

-- Children by the number that paths use: position in forwardnodes below a gModule, else in modules.
local function children(module)
   local list = {}
   for index, child in ipairs(module.forwardnodes or module.modules or {}) do
      if module.forwardnodes then child = child.data.module end
      if is_module(child) then table.insert(list, {index = index, module = child}) end
   end
   return list
end

-- Wrappers keep their nets in fields, and inherit a forward pass from nn.Module that does nothing.
local function is_wrapper(object) return object.updateOutput == nn.Module.updateOutput end

-- The modules in tables and objects: {model=, opt=}, {protos={cnn=, rnn=}}, an agent with its network.
local function find_modules(object, path, found, seen)
   if type(object) ~= 'table' or is_tensor(object) or seen[object] then return found end
   seen[object] = true
   if is_module(object) and not is_wrapper(object) then
      table.insert(found, {path = path, module = object})
   elseif not (torch.typename(object) or ''):find('Criterion$') then
      for key, value in pairs(object) do find_modules(value, join(path, key), found, seen) end
   end
   return found
end

local function mark_inner(module, inner)
   for _, child in ipairs(children(module)) do
      if not inner[child.module] then
         inner[child.module] = true
         mark_inner(child.module, inner)
      end
   end
end

-- The module that a path leads to: by keys and fields, by the numbers of modules, or a range at its end.
local function reach(object, path)
   if path == '' then return is_module(object) and object or nil end
   if type(object) ~= 'table' or is_tensor(object) then return nil end
   local first, last = path:match('^(%d+)%-(%d+)$')
   if first and torch.typename(object) == 'nn.Sequential' then
      local part = nn.Sequential()
      for index = math.max(1, tonumber(first)), math.min(#object.modules, tonumber(last)) do
         part:add(object.modules[index])
      end
      return part
   end
   local named = {}
   for key, value in pairs(object) do named[tostring(key)] = value end
   for _, child in ipairs(torch.typename(object) and children(object) or {}) do
      named[tostring(child.index)] = child.module
   end
   for dot in (path .. '.'):gmatch('()%.') do -- a key may have dots itself
      local value = named[path:sub(1, dot - 1)]
      local module = value ~= nil and reach(value, path:sub(dot + 1))
      if module then return module end
   end
end

local function read_model(file, wanted)
   local object, lines, inner, outermost = read(file), {}, {}, {}
   local selected = wanted and reach(object, wanted)
   if selected then return selected end
   local found = find_modules(object, '', {}, {})
   for _, entry in ipairs(found) do mark_inner(entry.module, inner) end
   for _, entry in ipairs(found) do
      if not inner[entry.module] then table.insert(outermost, entry.module) end
      table.insert(lines, string.format('  %s  (%s)', entry.path, torch.typename(entry.module)))
   end
   if #outermost == 1 and not wanted then return outermost[1] end
   table.sort(lines)
   fail('%s holds %s; choose with -select PATH:\n%s', file, #found == 0 and 'no nn module'
      or wanted and 'nothing at ' .. wanted or 'several modules', table.concat(lines, '\n'))
end

-- The same nesting of tables with `change` applied to each tensor.
local function map(value, change)
   if is_tensor(value) then return change(value) end
   if not is_table(value) then return value end
   local result = {}
   for key, element in pairs(value) do result[key] = map(element, change) end
   return result
end

local function float_clone(tensor) return tensor:clone():float() end
local function shape(tensor)
   local sizes = {}
   for dim = 1, tensor:dim() do sizes[dim] = tensor:size(dim) end
   return sizes
end
local function summarise(tensor)
   if tensor:nElement() == 0 then return {shape = shape(tensor), sum = 0, absmax = 0, mean = 0, abssum = 0} end
   local sum, size = tensor:sum(), torch.abs(tensor)
   return {shape = shape(tensor), sum = sum, absmax = size:max(), mean = sum / tensor:nElement(), abssum = size:sum()}
end

local function random_input(sizes)
   local inputs = {}
   for size in sizes:gmatch('[^,]+') do
      local dims = {}
      for dim in size:gmatch('[^x]+') do
         table.insert(dims, dim:match('^[1-9]%d*$') and tonumber(dim) or fail('-size %s: expected 1x3x64x48', sizes))
      end
      table.insert(inputs, torch.FloatTensor(torch.LongStorage(dims)):uniform())
   end
   return #inputs == 1 and inputs[1] or inputs
end

local function read_input(path)
   local input, tensors = read(path), 0
   if is_table(input) and input.input ~= nil then input = input.input end
   map(input, function() tensors = tensors + 1 end)
   if tensors > 0 then return input end
   fail('%s holds a %s, not a tensor or a table of tensors', path, torch.typename(input) or type(input))
end

-- The hook sits in the instance, and modules such as MapTable and Recursor clone themselves, hook
-- included, during forward. It therefore has no upvalues (Torch would clone those too, records and
-- all) and finds the recorder through a global; `porter_*` fields are cloned along with the module.
local function hook(self, ...) return PORTER_CALL(self, ...) end

local function install(module, path, hooked)
   if hooked[module] then return end
   hooked[module] = true
   -- nn.Copy keeps a function in the instance, which then must win over the one of the class.
   module.porter_path, module.porter_own, module.updateOutput = path, rawget(module, 'updateOutput'), hook
   for _, child in ipairs(children(module)) do
      local clones = child.module == module.recurrentModule and module.sharedClones -- rnn saves one for each step
      install(child.module, join(path, child.index), hooked)
      for _, clone in pairs(clones or {}) do install(clone, join(path, child.index), hooked) end
   end
end

local function uninstall(hooked)
   for module in pairs(hooked) do
      module.updateOutput, module.porter_own, module.porter_path = module.porter_own, nil, nil
   end
end

-- The records of one forward with every module hooked.
local function record(model, input, summary)
   local records, calls, stack, hooked, previous = {}, {}, {}, {}, nil

   -- The path depends on the caller: a shared module has several, taken in turn by its calls. One that
   -- is no child of its caller (a step clone) goes by the path of the module it was cloned from.
   local function locate(module)
      local caller, indices = stack[#stack], {}
      if not caller then return '' end
      for _, child in ipairs(children(caller.module)) do
         if child.module == module then table.insert(indices, child.index) end
      end
      if #indices == 0 then return module.porter_path end
      local turn = caller.turns[module] or 0
      caller.turns[module] = turn + 1
      local index = indices[turn % #indices + 1]
      return join(caller.path, index), caller.module.forwardnodes and index or nil
   end

   local function append(path, gnode, module, result)
      local output = map(result, float_clone) -- now, because an in-place layer may overwrite it next
      -- A container mostly returns what its last child returned: store that tensor once.
      if previous and is_tensor(output) and previous:isSameSizeAs(output) and previous:equal(output) then
         output = previous
      end
      previous = is_tensor(output) and output
      calls[path] = (calls[path] or 0) + 1
      table.insert(records, {
         path = path, gnode = gnode, type = torch.typename(module), call = calls[path], shape = map(output, shape),
         summary = summary and map(output, summarise), output = (path == '' or not summary) and output or nil,
      })
   end

   function PORTER_CALL(module, ...)
      local path, gnode = locate(module)
      table.insert(stack, {module = module, path = path, turns = {}})
      local result = (module.porter_own or getmetatable(module).updateOutput)(module, ...)
      table.remove(stack)
      append(path, gnode, module, result)
      return result
   end

   install(model, '', hooked)
   local ok, message = pcall(model.forward, model, input)
   uninstall(hooked)
   if ok then return records end
   local failed = stack[#stack] or {module = model, path = ''}
   error(string.format("module '%s' (%s): %s", failed.path, torch.typename(failed.module), message), 0)
end

-- Since torch/nn pull request 1271 (August 2017) BatchNormalization in training mode uses running
-- statistics when the batch is one sample. InstanceNormalization classes run their images through
-- such a batch, and published models were trained before that: bring the old behaviour back.
local function use_batch_statistics_for_one_sample()
   local function is_old()
      local bn = nn.SpatialBatchNormalization(1, 1e-5, 0.1, false):float()
      bn:training()
      return math.abs(bn:forward(torch.FloatTensor{{{{1, 3}}}}):sum()) < 0.1 -- batch statistics centre it
   end
   if not nn.SpatialBatchNormalization or is_old() then return 'native' end
   local native = nn.BatchNormalization.updateOutput
   function nn.BatchNormalization:updateOutput(input)
      local output = native(self, input) -- which also checks the input and makes it a batch
      if not self.train or input:size(1) > 1 then return output end
      -- The statistics of a sample are those of the sample twice.
      self.output = native(self, torch.cat(input, input, 1)):narrow(1, 1, 1)
      return self.output
   end
   if not is_old() then fail('this nn has an unknown BatchNormalization; cannot make sure of batch statistics') end
   return 'patched'
end

-- Commits of torch and nn where torch/distro installed them: it keeps its clones.
local function versions()
   local distro = debug.getinfo(nn.Module.forward, 'S').source:match('^@(.*)/install/share/lua/')
   local found = {lua = jit and jit.version or _VERSION}
   for name, folder in pairs(distro and {torch = '/pkg/torch', nn = '/extra/nn'} or {}) do
      local pipe = io.popen(string.format("git -C '%s%s' rev-parse HEAD 2>/dev/null", distro, folder))
      found[name] = pipe:read('*l')
      pipe:close()
   end
   return found
end

-- Empty buffers of another type than the parameters, as a model has that was built before its type was
-- set: forward would write into them, and fail.
local FLOATING = {['torch.FloatTensor'] = true, ['torch.DoubleTensor'] = true, ['torch.CudaTensor'] = true}
local function cast_empty_buffers(module, tensor_type, done)
   if done[module] then return end
   done[module] = true
   for name, value in pairs(module) do
      if is_tensor(value) then
         local kind = torch.typename(value)
         if kind ~= tensor_type and FLOATING[kind] and value:nElement() == 0 then
            module[name] = value:type(tensor_type)
         end
      elseif is_module(value) then cast_empty_buffers(value, tensor_type, done) end
   end
   for _, child in ipairs(children(module)) do cast_empty_buffers(child.module, tensor_type, done) end
end

local options = parse(arg or {})
if not (pcall(require, 'torch') and pcall(require, 'nn')) then fail('torch and nn not found; run this with `th`') end
torch.setdefaulttensortype('torch.FloatTensor')
torch.setnumthreads(1)
torch.manualSeed(tonumber(options.seed))
for _, name in ipairs(options.require) do
   try('-require ' .. name, name:find('%.lua$') and dofile or require, name)
end

local model = read_model(options.model, options.select)
local input = options.size and random_input(options.size) or read_input(options.input)
local recording = {
   format = 'torch7-activations', version = 1, mode = options.mode, seed = tonumber(options.seed),
   select = options.select,
   summary = options.summary, nn_batch1 = use_batch_statistics_for_one_sample(), versions = versions(),
   input = map(input, float_clone), -- float like the outputs; forward gets a copy of its own
}

if cutorch then cutorch.manualSeed(recording.seed) end -- after reading, which may have loaded it
model[options.mode](model)
if options.double then model:double() end
local parameters = model:parameters()
local tensor_type = parameters and parameters[1] and parameters[1]:type() or model._type or 'torch.FloatTensor'
cast_empty_buffers(model, tensor_type, {})
input = map(input, function(tensor) return tensor:clone():type(tensor_type) end)
recording.records = try('forward failed', record, model, input, options.summary)
recording.output = recording.records[#recording.records].output

local partial = options.out .. '.part' -- renamed when complete, so that no half file looks like a recording
try('cannot write ' .. options.out, function()
   local ok, reason = pcall(torch.save, partial, recording)
   if ok then ok, reason = os.rename(partial, options.out) end
   if not ok then os.remove(partial) error(reason, 0) end
end)
print(string.format('%s: %d records, %s mode, BatchNormalization of one sample: %s',
   options.out, #recording.records, recording.mode, recording.nn_batch1))
