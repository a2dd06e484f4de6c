--[[ The few torch functions that porter/torch7/recorder/record.lua uses, for tests without Torch7.

A "t7 file" is a Lua chunk that returns the object (torch.load) or JSON (torch.save). Tensors are
contiguous; in JSON each carries an `id`, so that a test sees which records share one. ]]

torch = {}
local next_id = 0

function torch.typename(object)
   local metatable = type(object) == 'table' and getmetatable(object)
   return metatable and metatable.__typename or nil
end

-- Like torch.class: returns a constructor that also reads and writes the class, and the parent class.
function torch.class(name, parent_name)
   local parent = parent_name and torch.classes[parent_name]
   local class = setmetatable({__typename = name}, parent)
   class.__index = class
   torch.classes[name] = class
   local function construct(_, ...)
      local object = setmetatable({}, class)
      if class.__init then object:__init(...) end
      return object
   end
   local constructor = setmetatable({}, {__index = class, __newindex = class, __call = construct})
   local package, short = name:match('(.*)%.(.*)')
   _G[package] = _G[package] or {}
   _G[package][short] = constructor
   return constructor, parent
end
torch.classes = {}

function torch.LongStorage(sizes) return {storage = sizes} end

local function define_tensor(name)
   local Tensor = torch.class(name)

   local function flatten(value, depth, sizes, data)
      if type(value) ~= 'table' then table.insert(data, value) return end
      sizes[depth] = #value
      for _, element in ipairs(value) do flatten(element, depth + 1, sizes, data) end
   end

   function Tensor:__init(value)
      next_id = next_id + 1
      self.id, self.sizes, self.data = next_id, {}, {}
      if value and value.storage then
         local count = 1
         for dim, size in ipairs(value.storage) do self.sizes[dim], count = size, count * size end
         for i = 1, count do self.data[i] = 0 end
      elseif value then
         flatten(value, 1, self.sizes, self.data)
      end
   end

   function Tensor:type(wanted)
      if not wanted then return torch.typename(self) end
      if wanted == torch.typename(self) then return self end
      return torch[wanted:match('%.(.*)')](torch.LongStorage(self.sizes)):copy(self)
   end
   function Tensor:clone() return torch[torch.typename(self):match('%.(.*)')](torch.LongStorage(self.sizes)):copy(self) end
   function Tensor:float() return self:type('torch.FloatTensor') end
   function Tensor:copy(other) return self:apply(function(i) return other.data[i] end) end
   function Tensor:uniform() return self:apply(function() return math.random() end) end
   function Tensor:apply(change) for i = 1, #self.data do self.data[i] = change(i, self.data[i]) end return self end
   function Tensor:dim() return #self.sizes end
   function Tensor:size(dim) return self.sizes[dim] end
   function Tensor:nElement() return #self.data end
   function Tensor:isSameSizeAs(other) return table.concat(self.sizes, 'x') == table.concat(other.sizes, 'x') end
   function Tensor:equal(other) return table.concat(self.data, ' ') == table.concat(other.data, ' ') end
   function Tensor:max() return math.max(unpack(self.data)) end
   function Tensor:sum()
      local sum = 0
      for _, x in ipairs(self.data) do sum = sum + x end
      return sum
   end
   function Tensor:narrow(dim, first, count)
      assert(dim == 1 and first == 1)
      local sizes = {count, unpack(self.sizes, 2)}
      return torch.FloatTensor(torch.LongStorage(sizes)):copy(self)
   end
end
define_tensor('torch.FloatTensor')
define_tensor('torch.DoubleTensor')

function torch.abs(tensor) return tensor:clone():apply(function(_, x) return math.abs(x) end) end
function torch.cat(a, b, dim)
   assert(dim == 1)
   local both = torch.FloatTensor(torch.LongStorage{a:size(1) + b:size(1), unpack(a.sizes, 2)})
   return both:apply(function(i) return a.data[i] or b.data[i - #a.data] end)
end

function torch.setdefaulttensortype() end
function torch.setnumthreads(count) assert(count == 1) end
function torch.manualSeed(seed) math.randomseed(seed) end
function torch.load(path) return assert(loadfile(path))() end

local function json(value)
   local kind = type(value)
   if kind == 'number' or kind == 'boolean' then return tostring(value) end
   if kind == 'string' then return string.format('%q', value) end
   assert(kind == 'table', 'cannot save a ' .. kind)
   local parts, is_list = {}, #value > 0
   for _, element in ipairs(value) do table.insert(parts, json(element)) end
   for key, element in pairs(value) do
      if not is_list then table.insert(parts, string.format('%q:%s', key, json(element))) end
   end
   return (is_list and '[%s]' or '{%s}'):format(table.concat(parts, ','))
end

function torch.save(path, object)
   local file = assert(io.open(path, 'w'))
   file:write(json(object))
   file:close()
end

return torch
